"""What the routes do, free of HTTP; every collaborator is an argument."""
