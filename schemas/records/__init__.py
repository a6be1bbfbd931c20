"""Records of the topics, one file per aggregate."""
