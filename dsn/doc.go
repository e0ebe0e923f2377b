// Package dsn reads delivery status notifications, the standard form of a
// bounce.
//
// [IsReport] tells whether a message is one, [Parse] reads the body of its
// message/delivery-status part. Whatever is wrong with a report, what can be
// read comes back, with the departures as [mime.Defect] values.
//
// The standards followed are RFC 3464 (and RFC 1894 before it), RFC 3463
// (status codes), RFC 3461 4 (xtext) and RFC 6533 (UTF-8 addresses).
//
// # Goroutines
//
// The package starts none. Functions may be called from any number of
// goroutines; a finished Report may be shared for reading.
package dsn
