"""Training of systems that send features of images over digital channels."""
