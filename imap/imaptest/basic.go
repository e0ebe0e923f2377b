package imaptest

import (
	"fmt"
	"strconv"
	"strings"
)

// Greeting is one that tells no capabilities.
const Greeting = "* OK ready\r\n"

// Capabilities makes the replies that announce capabilities, before and after
// login.
func Capabilities(names string) []Reply {
	return []Reply{
		{To: "CAPABILITY", Text: "* CAPABILITY " + names + "\r\n$ OK done\r\n"},
		{To: "LOGIN", Text: "$ OK [CAPABILITY " + names + "] in\r\n"},
	}
}

// Basic makes the replies of a server whose folders all hold the same mails,
// with the UIDs 1, 2, ... and the given UIDVALIDITY. It takes any login.
// FETCH is answered for all mails, whichever were asked for; EXPUNGE and MOVE
// tell that all are gone, STORE and COPY are agreed to, and nothing of it changes
// what the next command finds. It is a script to put other replies before.
func Basic(validity uint32, mails ...string) []Reply {
	var uids, fetch strings.Builder
	for i, m := range mails {
		uids.WriteString(" " + strconv.Itoa(i+1))
		fetch.WriteString(Fetched(i+1, uint32(i+1), m))
	}
	selected := fmt.Sprintf("* FLAGS (\\Seen \\Deleted)\r\n* %d EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY %d] valid\r\n* OK [UIDNEXT %d] next\r\n", len(mails), validity, len(mails)+1)
	gone := strings.Repeat("* 1 EXPUNGE\r\n", len(mails))
	return []Reply{
		{To: "CAPABILITY", Text: "* CAPABILITY IMAP4rev1\r\n$ OK done\r\n"},
		{To: "LOGIN", Text: "$ OK in\r\n"},
		{To: "SELECT", Text: selected + "$ OK [READ-WRITE] done\r\n"},
		{To: "EXAMINE", Text: selected + "$ OK [READ-ONLY] done\r\n"},
		{To: "UID SEARCH RETURN (ALL) DELETED", Text: "$ OK done\r\n"},
		{To: "UID SEARCH DELETED", Text: "* SEARCH\r\n$ OK done\r\n"},
		{To: "UID SEARCH", Text: "* SEARCH" + uids.String() + "\r\n$ OK done\r\n"},
		{To: "UID FETCH", Text: fetch.String() + "$ OK done\r\n"},
		{To: "LOGOUT", Text: "* BYE bye\r\n$ OK done\r\n", Then: Drop},
		{To: "LIST", Text: "* LIST () \"/\" \"\"\r\n$ OK done\r\n"},
		{To: "UID EXPUNGE", Text: gone + "$ OK done\r\n"},
		{To: "UID MOVE", Text: gone + "$ OK done\r\n"},
		{To: "EXPUNGE", Text: gone + "$ OK done\r\n"},
		{To: "UID", Text: "$ OK done\r\n"},
		{To: "NOOP", Text: "$ OK done\r\n"},
	}
}

// Fetched writes the FETCH response with the content of a mail.
func Fetched(seq int, uid uint32, mail string) string {
	return fmt.Sprintf("* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", seq, uid, len(mail), mail)
}
