"""What each larger command of `hubagent` does; imported when it is used."""
