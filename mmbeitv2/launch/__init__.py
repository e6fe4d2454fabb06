"""What the command-line tools share: config, checks before a run, total batch, runner."""
