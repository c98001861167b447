//! Which change or fault explains what is seen, with evidence for and against.
