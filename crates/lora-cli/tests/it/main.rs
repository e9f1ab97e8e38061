//! What people see of the tools, and what one tool sees of another.
mod architecture;
mod describe;
mod errors;
mod pipes;
mod tables;
