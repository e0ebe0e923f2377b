package dsn

import (
	"strconv"
	"strings"
)

// A Status is an enhanced status code (RFC 3463 2), e.g. {5, 1, 1}. The zero
// value means that there is none.
type Status struct {
	// Class is 2 (success), 4 (may succeed later) or 5 (failed for good).
	Class int
	// Subject and Detail are 0 to 999; 0 means nothing more is known.
	Subject, Detail int
}

// ParseStatus finds the first enhanced status code in s; ok is false if there
// is none. Text around it, as in "5.1.1 (no such user)", does not matter.
func ParseStatus(s string) (st Status, ok bool) {
	code := findStatus(s)
	if code == "" {
		return Status{}, false
	}
	part := strings.SplitN(code, ".", 3)
	st.Class = int(code[0] - '0')
	st.Subject, _ = strconv.Atoi(part[1]) // findStatus saw one to three digits
	st.Detail, _ = strconv.Atoi(part[2])
	return st, true
}

// String is the code as it is written, "" for the zero Status.
func (s Status) String() string {
	if s == (Status{}) {
		return ""
	}
	return strconv.Itoa(s.Class) + "." + strconv.Itoa(s.Subject) + "." + strconv.Itoa(s.Detail)
}

// IsZero reports whether there is no code.
func (s Status) IsZero() bool { return s == Status{} }

// generic reports whether the code tells nothing but its class.
func (s Status) generic() bool { return s.Subject == 0 && s.Detail == 0 }

// ClassText says in English what the class means, "" if it is none of RFC 3463.
func (s Status) ClassText() string {
	switch s.Class {
	case 2:
		return "success"
	case 4:
		return "temporary failure"
	case 5:
		return "permanent failure"
	}
	return ""
}

// SubjectText says what the subject is about, "" if it is none of RFC 3463 3.
func (s Status) SubjectText() string {
	if s.IsZero() || s.Subject < 0 || s.Subject >= len(subjectTexts) {
		return ""
	}
	return subjectTexts[s.Subject]
}

// DetailText says what subject and detail mean together, by RFC 3463 3 and the
// registry that RFC 5248 started; "" for codes that are in neither.
func (s Status) DetailText() string {
	if s.IsZero() {
		return ""
	}
	return detailTexts[[2]int{s.Subject, s.Detail}]
}

var subjectTexts = [...]string{
	0: "undefined", 1: "address", 2: "mailbox", 3: "mail system", 4: "network and routing",
	5: "mail protocol", 6: "content", 7: "security or policy",
}

var detailTexts = map[[2]int]string{
	{0, 0}: "no further information",

	{1, 0}:  "a problem with an address",
	{1, 1}:  "no such mailbox at this host",
	{1, 2}:  "no such host or domain, or it takes no mail",
	{1, 3}:  "the recipient's address is not well-formed",
	{1, 4}:  "the address stands for more than one mailbox",
	{1, 5}:  "the address is valid",
	{1, 6}:  "the mailbox has moved and no new address is known",
	{1, 7}:  "the sender's address is not well-formed",
	{1, 8}:  "the sender's host or domain is unknown or takes no mail",
	{1, 9}:  "passed on to a system that sends no reports",
	{1, 10}: "the recipient's domain says that it takes no mail",

	{2, 0}: "a problem with the mailbox",
	{2, 1}: "the mailbox is disabled and takes no mail",
	{2, 2}: "the mailbox is full",
	{2, 3}: "the message is longer than this mailbox may take",
	{2, 4}: "the mailing list could not be expanded",

	{3, 0}: "a problem with the mail system",
	{3, 1}: "the mail system is out of storage",
	{3, 2}: "the mail system takes no mail at the moment",
	{3, 3}: "the mail system lacks a feature that the message needs",
	{3, 4}: "the message is too big for the mail system",
	{3, 5}: "the mail system is set up wrongly",
	{3, 6}: "the priority that was asked for was changed",

	{4, 0}: "a problem with the network or the routing",
	{4, 1}: "the host did not answer",
	{4, 2}: "the connection broke",
	{4, 3}: "a directory that is needed did not answer",
	{4, 4}: "no route to the host",
	{4, 5}: "the mail system is overloaded",
	{4, 6}: "the message went round in a loop",
	{4, 7}: "the message could not be delivered in time",

	{5, 0}: "a problem with the mail protocol",
	{5, 1}: "a command that is not valid here",
	{5, 2}: "a command that could not be understood",
	{5, 3}: "too many recipients",
	{5, 4}: "a command with wrong arguments",
	{5, 5}: "the two sides speak different versions of the protocol",
	{5, 6}: "a line of the authentication exchange is too long",

	{6, 0}:  "a problem with the content",
	{6, 1}:  "the kind of content is not supported",
	{6, 2}:  "the content had to be converted and must not be",
	{6, 3}:  "the content had to be converted and can't be",
	{6, 4}:  "the content was converted with loss",
	{6, 5}:  "the conversion of the content failed",
	{6, 6}:  "the content that the message refers to can't be had",
	{6, 7}:  "addresses outside ASCII are not allowed here",
	{6, 8}:  "the reply needs UTF-8, which the client does not take",
	{6, 9}:  "a UTF-8 header can't be passed on to this recipient",
	{6, 10}: "a UTF-8 header can't be passed on to this recipient",

	{7, 0}:  "refused for reasons of security or policy",
	{7, 1}:  "delivery not authorised, message refused",
	{7, 2}:  "the sender may not expand this mailing list",
	{7, 3}:  "a secure conversion is needed and can't be made",
	{7, 4}:  "a security feature is not supported",
	{7, 5}:  "a cryptographic operation failed",
	{7, 6}:  "a cryptographic algorithm is not supported",
	{7, 7}:  "the message was changed on its way",
	{7, 8}:  "wrong user name or password",
	{7, 9}:  "the authentication mechanism is too weak",
	{7, 10}: "encryption is needed",
	{7, 11}: "this authentication mechanism needs encryption",
	{7, 12}: "the user must log in once by another mechanism",
	{7, 13}: "the account is disabled",
	{7, 14}: "a trust relationship with a third server is needed",
	{7, 15}: "the priority is too low",
	{7, 16}: "the message is too big for its priority",
	{7, 17}: "the mailbox has a new owner",
	{7, 18}: "the domain has a new owner",
	{7, 19}: "whether the owner has changed could not be found out",
	{7, 20}: "no DKIM signature passed",
	{7, 21}: "no acceptable DKIM signature passed",
	{7, 22}: "no DKIM signature of the author's domain passed",
	{7, 23}: "the SPF check failed",
	{7, 24}: "the SPF check could not be done",
	{7, 25}: "the sending host has no valid reverse DNS name",
	{7, 26}: "several checks of who sent the message failed",
	{7, 27}: "the sender's domain says that it takes no mail",
	{7, 28}: "too much mail in a short time",
	{7, 29}: "the ARC chain is not valid",
	{7, 30}: "TLS all the way was asked for and can't be had",
}
