"""The processes that are measured or measure: started, told, read, ended by their own id."""
