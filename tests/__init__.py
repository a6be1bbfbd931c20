"""Does it hold? One folder for each of the folders it tests, and the machinery that tests share."""
