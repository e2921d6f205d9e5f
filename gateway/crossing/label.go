package crossing

// MaxLabel bounds a label of the data's class in a crossing's header, in bytes: far
// above any honest JWS of a few claims.
const MaxLabel = 8 << 10
