//! The small hyper server behind every HTTP port of this project.
