"""What an operator does when nodes cannot help themselves: backups, restoring, lost quorums."""
