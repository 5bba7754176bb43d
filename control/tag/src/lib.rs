//! Flame's topology abstraction graph: schema and data spec to tasks
