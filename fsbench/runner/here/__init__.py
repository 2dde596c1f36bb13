"""Programs, devices, room, data, weights and cache of this machine, as `fsbench list here` shows them."""
