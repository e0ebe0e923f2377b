package dsn

// A Reason is why a message was not delivered, in one word.
type Reason string

const (
	// ReasonNone goes with deliveries that succeeded.
	ReasonNone Reason = ""
	// ReasonUnknown: the report does not say, or not so that we understand.
	ReasonUnknown Reason = "unknown"

	// ReasonUserUnknown: no such mailbox.
	ReasonUserUnknown Reason = "user-unknown"
	// ReasonHostUnknown: no such domain or host, or no route to it.
	ReasonHostUnknown Reason = "host-unknown"
	// ReasonMoved: the mailbox went elsewhere.
	ReasonMoved Reason = "moved"
	// ReasonNoMail: the host or domain takes no mail at all (RFC 7505).
	ReasonNoMail Reason = "no-mail"
	// ReasonDisabled: the mailbox is there, switched off or suspended.
	ReasonDisabled Reason = "disabled"
	// ReasonMailboxFull: over quota.
	ReasonMailboxFull Reason = "mailbox-full"
	// ReasonFiltered: the recipient's own settings refuse the mail.
	ReasonFiltered Reason = "filtered"

	// ReasonTooBig: longer than somebody on the way takes.
	ReasonTooBig Reason = "too-big"
	// ReasonSpam: the content was taken for spam.
	ReasonSpam Reason = "spam"
	// ReasonVirus: the content was taken for malware, or holds a kind of file
	// that is not let in.
	ReasonVirus Reason = "virus"
	// ReasonContent: the content is malformed or not wanted.
	ReasonContent Reason = "content"
	// ReasonAuthentication: SPF, DKIM, DMARC or ARC did not pass.
	ReasonAuthentication Reason = "authentication"
	// ReasonBlocked: the sending host is on a list, has a bad name or no
	// reverse DNS entry.
	ReasonBlocked Reason = "blocked"
	// ReasonRateLimit: too many messages or connections in a short time.
	ReasonRateLimit Reason = "rate-limit"
	// ReasonSender: the sender's address or domain is refused.
	ReasonSender Reason = "sender"
	// ReasonRelay: the server does not pass mail on for this sender.
	ReasonRelay Reason = "relay"
	// ReasonPolicy: refused by a rule that is not told more closely.
	ReasonPolicy Reason = "policy"
	// ReasonSecurity: encryption or a login is needed.
	ReasonSecurity Reason = "security"

	// ReasonNetwork: the host could not be reached or the connection broke.
	ReasonNetwork Reason = "network"
	// ReasonExpired: tried for too long.
	ReasonExpired Reason = "expired"
	// ReasonLoop: the message went round in circles.
	ReasonLoop Reason = "loop"
	// ReasonSystem: the mail system is out of order or out of room.
	ReasonSystem Reason = "system"
	// ReasonProtocol: the two sides did not understand each other.
	ReasonProtocol Reason = "protocol"
	// ReasonTemporary: "try again later", greylisting for example.
	ReasonTemporary Reason = "temporary"

	// ReasonComplaint: a reader or a system complains about the message.
	ReasonComplaint Reason = "complaint"
)

// statusReasons gives the reason that a code alone stands for. Codes that are
// used for too many things are not in it.
var statusReasons = map[[2]int]Reason{
	{1, 0}: ReasonUserUnknown, {1, 1}: ReasonUserUnknown, {1, 2}: ReasonHostUnknown, {1, 3}: ReasonUserUnknown, {1, 4}: ReasonUserUnknown,
	{1, 6}: ReasonMoved, {1, 7}: ReasonSender, {1, 8}: ReasonSender, {1, 10}: ReasonNoMail,
	{2, 0}: ReasonFiltered, {2, 1}: ReasonDisabled, {2, 2}: ReasonMailboxFull, {2, 3}: ReasonTooBig, {2, 4}: ReasonSystem,
	{3, 0}: ReasonSystem, {3, 1}: ReasonSystem, {3, 2}: ReasonSystem, {3, 3}: ReasonSystem, {3, 4}: ReasonTooBig, {3, 5}: ReasonSystem,
	{4, 0}: ReasonNetwork, {4, 1}: ReasonNetwork, {4, 2}: ReasonNetwork, {4, 3}: ReasonNetwork, {4, 4}: ReasonHostUnknown, {4, 5}: ReasonRateLimit,
	{4, 6}: ReasonLoop, {4, 7}: ReasonExpired,
	{5, 0}: ReasonProtocol, {5, 1}: ReasonProtocol, {5, 2}: ReasonProtocol, {5, 3}: ReasonRateLimit, {5, 4}: ReasonProtocol, {5, 5}: ReasonProtocol, {5, 6}: ReasonProtocol,
	{6, 0}: ReasonContent, {6, 1}: ReasonContent, {6, 2}: ReasonContent, {6, 3}: ReasonContent, {6, 5}: ReasonContent, {6, 7}: ReasonProtocol, {6, 9}: ReasonProtocol,
	{7, 0}: ReasonPolicy, {7, 1}: ReasonPolicy, {7, 2}: ReasonPolicy, {7, 3}: ReasonSecurity, {7, 4}: ReasonSecurity, {7, 5}: ReasonSecurity, {7, 6}: ReasonSecurity,
	{7, 7}: ReasonSecurity, {7, 8}: ReasonSecurity, {7, 9}: ReasonSecurity, {7, 10}: ReasonSecurity, {7, 11}: ReasonSecurity, {7, 13}: ReasonDisabled, {7, 14}: ReasonSecurity,
	{7, 16}: ReasonTooBig, {7, 17}: ReasonMoved, {7, 18}: ReasonMoved,
	{7, 20}: ReasonAuthentication, {7, 21}: ReasonAuthentication, {7, 22}: ReasonAuthentication, {7, 23}: ReasonAuthentication, {7, 24}: ReasonAuthentication,
	{7, 25}: ReasonBlocked, {7, 26}: ReasonAuthentication, {7, 27}: ReasonSender, {7, 28}: ReasonRateLimit, {7, 29}: ReasonAuthentication, {7, 30}: ReasonSecurity,
}

// reasonStatus is the code that a reason is told by where the report has none:
// subject and detail, the class coming from the outcome.
var reasonStatus = map[Reason][2]int{
	ReasonUserUnknown: {1, 1}, ReasonHostUnknown: {1, 2}, ReasonMoved: {1, 6}, ReasonNoMail: {1, 10}, ReasonDisabled: {2, 1}, ReasonMailboxFull: {2, 2}, ReasonFiltered: {2, 0},
	ReasonTooBig: {3, 4}, ReasonSpam: {7, 1}, ReasonVirus: {7, 1}, ReasonContent: {6, 0}, ReasonAuthentication: {7, 26}, ReasonBlocked: {7, 1}, ReasonRateLimit: {4, 5}, ReasonSender: {1, 8},
	ReasonRelay: {7, 1}, ReasonPolicy: {7, 1}, ReasonSecurity: {7, 0}, ReasonNetwork: {4, 1}, ReasonExpired: {4, 7}, ReasonLoop: {4, 6}, ReasonSystem: {3, 0}, ReasonProtocol: {5, 0},
}

// transient are reasons that mean "not now" where the report gives no class.
var transient = map[Reason]bool{ReasonRateLimit: true, ReasonTemporary: true, ReasonNetwork: true}

// verdict is what the words and codes of an answer come to.
type verdict struct {
	reason Reason
	hard   bool
}

// judge weighs an answer. words are what the phrases found in it; local tells
// that the reporting system speaks of its own mailbox, not of another server's
// answer.
func judge(words findings, st Status, reply int, local bool) verdict {
	v := verdict{reason: words.reason}
	command := words.command
	known := statusReasons[[2]int{st.Subject, st.Detail}]
	rest := []Reason{known, words.weak}
	if known == ReasonPolicy { // x.7.0 and x.7.1 are used for everything
		rest = []Reason{words.weak, known}
	}
	if st == (Status{5, 3, 2}) { // out of service for good
		known = ReasonNoMail
	}
	if words.has(known) { // words and code agree: what else the text says does not matter
		v.reason = known
	}
	for _, reason := range append(rest, replyReason(reply, command)) {
		if v.reason == ReasonNone {
			v.reason = reason
		}
	}
	// Before RCPT the server knows no recipient: what it does not know or like
	// is the sender (RFC 5321 3.3).
	if command == "MAIL" || command == "EHLO" || command == "CONN" {
		switch v.reason {
		case ReasonUserUnknown, ReasonMoved, ReasonDisabled, ReasonFiltered:
			v.reason = ReasonSender
		case ReasonHostUnknown, ReasonNoMail:
			// Without a server's answer nobody was asked: the name was not found.
			if reply != 0 {
				v.reason = ReasonSender
			}
		}
	}
	if st.Class == 4 || st.Class == 0 && reply/100 == 4 || st.Class == 0 && words.delayed {
		return v
	}
	switch v.reason {
	case ReasonHostUnknown, ReasonMoved, ReasonNoMail:
		v.hard = true
	case ReasonUserUnknown:
		// Two witnesses: the words, and the code or the place in the dialogue.
		v.hard = st.Subject == 1 || command == "RCPT" || local
	}
	return v
}

// replyReason is what an SMTP reply code says by RFC 5321 4.2.3 where nothing
// else is told.
func replyReason(reply int, command string) Reason {
	switch reply {
	case 550, 553:
		if command == "RCPT" {
			return ReasonUserUnknown
		}
		return ReasonPolicy
	case 551:
		return ReasonMoved
	case 521, 556: // RFC 7504
		return ReasonNoMail
	case 552:
		return ReasonTooBig
	case 452:
		return ReasonSystem
	case 421, 450, 451, 454:
		return ReasonTemporary
	case 500, 501, 502, 503, 504, 555:
		return ReasonProtocol
	case 530, 534, 535, 538:
		return ReasonSecurity
	case 554, 571:
		return ReasonPolicy
	}
	return ReasonUnknown
}
