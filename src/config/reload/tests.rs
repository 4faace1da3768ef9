//! Two configurations, and files that change between two looks.
