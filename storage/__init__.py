"""Memory: hot segments, the lake of sealed partitions, and one View over both."""
