// Package httpauth is what HTTP servers and HTTP proxies share in logging in:
// the parser of their challenges, and Basic and Digest.
//
// RFCs: 9110 section 11 (challenges), 7617 (Basic), 7616 (Digest).
package httpauth
