// Package policy is who may ask, and how much of an answer a client that may be
// forged gets: access lists, response rate limiting, server cookies, and the ports
// that are never answered.
//
// All of it stands on the path of every query. An [ACL] is immutable, a
// [RateLimiter] is one fixed table of atomic words, and [Cookies] are two secrets
// behind one pointer: nothing here locks or allocates once it was made, and any
// number of goroutines may use one value.
//
// The package decides and does not act: building a truncated reply, counting a
// verdict and staying silent are the caller's.
package policy
