"""What this machine has of what runs need: programs, devices, room, data, weights, and what the cache keeps."""
