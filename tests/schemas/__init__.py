"""Do records and payloads hold what schemas/ promises?"""
