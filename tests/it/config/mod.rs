//! Configuration: loading at the start, and the methods that change it.

mod hints;
mod load;
mod methods;
mod values;
