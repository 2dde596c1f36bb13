"""Whether this machine has what runs need: programs, devices, room, data, weights, and ops that calculate right."""
