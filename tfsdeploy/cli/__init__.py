"""The command line: words in, report out; one file a command, a few lines each over the packages below."""
