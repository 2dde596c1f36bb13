"""The episodic data module and one annotation index per dataset."""
