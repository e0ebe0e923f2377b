// Package dsn tells what became of a message: it reads the reports that mail
// systems send back, whatever their form.
//
// A [Collector] keeps what is needed while [mime.Parse] reads a message, and
// its [Collector.Result] tells the kind of the message, the recipients with
// status, reason and whether the address is dead, and the message that it is
// about. [Detect] does both for a host that wants nothing else. One [Result]
// serves for delivery reports in the standard form, bounces that follow no
// standard, disposition notifications, feedback reports and automatic replies;
// its Confidence tells them apart. The parts in the standard form can also be
// read one by one: [Parse], [ParseDisposition], [ParseFeedback].
//
// Whatever is wrong with a report, what can be read comes back, with the
// departures as [mime.Defect] values. Nothing in a report is an error.
//
// # How free text is read
//
// There is no list of mail programs. The text above the copy of the message is
// searched for addresses that stand where a failed recipient does: at the start
// of a line with the cause behind or below it, in a sentence that says that
// something was not delivered, in a dialogue with a server, behind a label. What
// belongs to each is weighed: enhanced codes first, then phrases that servers
// use for one thing, then reply codes. A mail counts as a report only if header
// and text agree; a person who quotes or forwards a report sends none.
//
// # Trust
//
// Anyone can send a report about anything (RFC 3464 4). Before a host acts on
// one it should ask [Result.Matches] with the ids of what it sent, and look at
// Confidence.
//
// The standards followed are RFC 3464 (and RFC 1894 before it), RFC 3463 and
// 5248 (status codes), RFC 3461 4 (xtext), RFC 6533 (UTF-8 addresses), RFC 8098
// (disposition notifications), RFC 5965, 6591, 6692 and 9477 (feedback
// reports), RFC 3834 (automatic replies), RFC 7505 (domains without mail).
//
// # Goroutines
//
// The package starts none. Functions may be called from any number of
// goroutines; a Collector belongs to one; a finished Report or Result may be
// shared for reading.
package dsn
