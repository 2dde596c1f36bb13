"""The methods: one self-contained file each, on the contract of `methods.base`."""
