"""Where the user's project is, what it sets, and finding its application object."""
