"""Whose skull may this be? A ranked list of leads from a folder of faces, for a forensic examiner; never a decision."""
