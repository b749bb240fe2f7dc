//! User names, topics and property bags.
