// Package mime reads and writes Internet mail.
//
// [Parse] reads a message as a stream and builds a tree of [Part] values; the
// content of the parts goes to a [Sink] while it is read, so memory does not
// grow with the message. Whatever the message looks like, a tree comes back:
// what is wrong with it stands in the tree as [Defect] values. Errors come only
// from the reader, the sink and the [Limits].
//
// [Draft.Compose] makes a message from text, HTML and files. Its output is
// plain ASCII, unless UTF-8 headers are asked for, with CRLF line ends, and can
// be written any number of times, byte for byte the same.
//
// The standards followed are RFC 5322 (messages), RFC 2045, 2046 and 2049
// (MIME), RFC 2047 and 2231 (other charsets in headers), RFC 2183 (disposition),
// RFC 1847 (signed bodies), RFC 2387 (related), RFC 2392 (content ids), RFC 3676
// (flowed text), RFC 3834 (automatic mail), RFC 6532 (UTF-8 headers), and RFC
// 1557, 1922 and 2152 (charsets). [WithExpansion] adds uuencode, yEnc 1.3 and
// TNEF (MS-OXTNEF, MS-OXRTFCP, MS-OXRTFEX). Where real mail departs from them the parser follows
// what senders mean, and says so in a defect. One choice is made for each
// ambiguity, whatever comes later in the message: of fields that may stand
// once, the first rules; the innermost boundary that a line spells in full
// ends a part; a transfer encoding on a multipart is ignored.
//
// # Goroutines
//
// The package starts none. Functions may be called from any number of
// goroutines; a Draft and a TextDecoder belong to one at a time; a Composed, a
// Header and a finished Part may be shared.
package mime
