package dsn

import (
	"strings"

	"github.com/maildriver/maildriver/mime"
)

const (
	// maxLines bounds the lines looked at of a report's text.
	maxLines = 20_000
	// maxShared bounds the text that is taken for all recipients.
	maxShared = 8 << 10
	// maxLine bounds what is looked at of one line.
	maxLine = 2000
	// maxMentions bounds the recipients found in free text.
	maxMentions = 1000
)

// How an address is mentioned in a report.
const (
	rankLabel    = 1 // behind "To:"
	rankSentence = 2 // in a sentence about a failure
	rankHead     = 3 // at the start of a line, with the cause behind or below it
	rankReply    = 4 // in a server's answer, or in the dialogue with it
)

// A mention is an address that a report's text names as one that failed.
type mention struct {
	addr    string
	rank    int
	own     *strings.Builder // what is said below the head, shared by a list of heads
	reply   strings.Builder  // the server's answers about this address
	command string           // what the answers were to
}

// A scan is what a report's free text says.
type scan struct {
	mentions []*mention
	byAddr   map[string]*mention
	shared   strings.Builder // what is said, whoever it is about
	// sharedRead is shared with what was found in it, once somebody asked.
	sharedRead *reading
	fields     strings.Builder // fields in the form of RFC 3464
	original   mime.Header     // the header of the message, if the text has a copy
	command    string          // of the dialogue, where no recipient was named
	replies    bool            // a dialogue with a server is in the text
	words      bool            // it says that something was not delivered
}

// scanText reads a report's text, in UTF-8. senders are the addresses that the
// report was sent to: they failed only if it says so plainly.
func scanText(text string, senders map[string]bool) *scan {
	s := &scan{byAddr: map[string]*mention{}}
	lines := splitLines(text)
	cut := s.cutCopy(lines)
	s.words = saysUndelivered(strings.Join(lines[:min(cut, 200)], "\n"))
	r := lineReader{scan: s, senders: senders}
	for i := 0; i < cut; i++ {
		if r.line(lines[i]) {
			continue
		}
		// A field of RFC 3464: what follows, up to a delimiter, are such fields.
		for ; i < cut && !strings.HasPrefix(lines[i], "--"); i++ {
			if s.fields.Len() < maxStatus {
				s.fields.WriteString(lines[i])
				s.fields.WriteByte('\n')
			}
		}
	}
	return s
}

func splitLines(text string) []string {
	var lines []string
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if strings.IndexByte(l, '\r') >= 0 { // CR alone ends lines
			for part := range strings.SplitSeq(l, "\r") {
				lines = append(lines, part[:min(len(part), maxLine)])
			}
		} else {
			lines = append(lines, l[:min(len(l), maxLine)])
		}
		if len(lines) >= maxLines {
			break
		}
	}
	return lines
}

// statusFields start fields that RFC 3464 knows.
var statusFields = []string{"reporting-mta:", "final-recipient:", "original-recipient:", "diagnostic-code:", "action: failed", "action: delayed"}

func isStatusField(l string) bool {
	for _, f := range statusFields {
		if len(l) >= len(f) && strings.EqualFold(l[:len(f)], f) {
			return true
		}
	}
	return false
}

// A lineReader goes through the text above the copy.
type lineReader struct {
	*scan
	senders map[string]bool
	group   *strings.Builder // text below the last heads
	filled  bool             // group has text, so a new head begins another one
	at      *mention         // the recipient that the dialogue is about
}

// line takes one line; false means that it is a field of RFC 3464.
func (r *lineReader) line(l string) bool {
	if isStatusField(l) {
		return false
	}
	t := strings.TrimSpace(l)
	if t == "" {
		return true
	}
	if r.dialogue(t) {
		return true
	}
	if decoration(t) >= 3 && (strings.IndexByte(t, '@') < 0 || strings.HasSuffix(t, "--") || strings.HasSuffix(t, "**")) {
		r.group, r.at = nil, nil // what follows is about all
		return true
	}
	if isHelp(t) {
		return true
	}
	if r.answer(t) || r.heads(l, t) || r.sentence(t) {
		return true
	}
	r.text(t)
	return true
}

// text adds a line to what is said below the last heads, and for all.
func (r *lineReader) text(t string) {
	if r.group != nil {
		r.filled = true
		add(r.group, t, MaxText)
	}
	add(&r.shared, t, maxShared)
}

func add(b *strings.Builder, t string, limit int) {
	if b.Len()+len(t) < limit {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(t)
	}
}

// mention notes an address; nil if there are too many.
func (r *lineReader) mention(addr string, rank int) *mention {
	key := strings.ToLower(addr)
	m := r.byAddr[key]
	if m == nil {
		if len(r.mentions) == maxMentions {
			return nil
		}
		m = &mention{addr: addr, rank: rank}
		r.byAddr[key] = m
		r.mentions = append(r.mentions, m)
	}
	m.rank = max(m.rank, rank)
	return m
}

// dialogue reads the lines of a transcript: ">>> RCPT TO:<a@b>", "<<< 550 no".
// Programs differ in which arrow is whose, not in what is a command.
func (r *lineReader) dialogue(t string) bool {
	i := -1
	for _, arrow := range []string{">>>", "<<<", "-->", "<--"} {
		if i < 0 {
			i = strings.Index(t[:min(len(t), 20)], arrow)
		}
	}
	if i < 0 {
		return false
	}
	line := strings.TrimSpace(t[i+3:])
	if c := commandOf(line); c != "" {
		r.replies = true
		r.command = c
		r.at = nil
		if c == "RCPT" {
			if _, addr, _, ok := findAddress(line); ok {
				r.at = r.mention(addr, rankReply)
			}
		}
		return true
	}
	if len(line) < 3 || !isReplyCode(line[:3]) {
		return false
	}
	r.replies = true
	if line[0] < '4' {
		return true
	}
	if r.at != nil {
		add(&r.at.reply, line, MaxText)
		r.at.command = r.command
		return true
	}
	if r.command == "DATA" && strings.Contains(line, "RCPT") || strings.HasPrefix(line, "503") {
		return true // what follows from the refusal before it
	}
	if r.group != nil { // Courier and others have the dialogue below the head
		r.filled = true
		add(r.group, line, MaxText)
		if n := len(r.mentions); n > 0 && r.mentions[n-1].own == r.group {
			r.mentions[n-1].command = r.command
		}
	}
	add(&r.shared, line, maxShared)
	return true
}

// commandOf gives the SMTP command that a line is, "" if it is none.
func commandOf(line string) string {
	up := strings.ToUpper(line[:min(len(line), 10)])
	switch {
	case strings.HasPrefix(up, "RCPT TO"):
		return "RCPT"
	case strings.HasPrefix(up, "MAIL FROM"):
		return "MAIL"
	case up == "DATA" || up == "." || strings.HasPrefix(up, "BDAT ") || strings.HasPrefix(up, "(BODY"):
		return "DATA"
	case strings.HasPrefix(up, "EHLO ") || strings.HasPrefix(up, "HELO "):
		return "EHLO"
	case up == "QUIT" || up == "RSET":
		return "QUIT"
	}
	return ""
}

// answer reads a line that is a reply about an address: "550 5.1.1 <a@b>... no
// such user".
func (r *lineReader) answer(t string) bool {
	if t[0] != '4' && t[0] != '5' || len(t) < 5 || !isReplyCode(t[:3]) || t[3] != ' ' && t[3] != '-' && t[3] != ':' {
		return false
	}
	_, addr, _, ok := findAddress(t)
	if !ok || r.senders[strings.ToLower(addr)] {
		return false
	}
	if r.group != nil && r.byAddr[strings.ToLower(addr)] == nil {
		return false // it stands below the head that it is about
	}
	if m := r.mention(addr, rankReply); m != nil {
		add(&m.reply, t, MaxText)
	}
	add(&r.shared, t, maxShared)
	return true
}

// heads reads a line that starts with one address or a list of them.
func (r *lineReader) heads(l, t string) bool {
	t = dropBullet(t)
	addr, rest, angle, ok := scanAddress(t)
	if !ok {
		return false
	}
	first := true
	for {
		rest = afterAddress(rest, addr)
		plain := strings.TrimLeft(rest, " \t:.,;)]'\"")
		if first && !angle && !headRest(rest) && (l == "" || l[0] != ' ' && l[0] != '\t') {
			return false // prose that begins with an address
		}
		if r.senders[strings.ToLower(addr)] && rest == "" && !angle {
			return false // greeting the sender
		}
		if r.group == nil || r.filled || plain != "" && first {
			r.group, r.filled = new(strings.Builder), false
		}
		m := r.mention(addr, rankHead)
		if m != nil {
			if m.own == nil {
				m.own = r.group
			} else { // named again: both texts are about it
				r.group = m.own
			}
		}
		first = false
		if rest != "" && (rest[0] == ',' || rest[0] == ';') {
			if a, after, ang, more := scanAddress(plain); more {
				addr, rest, angle = a, after, ang
				continue
			}
		}
		if plain != "" {
			r.text(strings.TrimSpace(rest))
		}
		return true
	}
}

// dropBullet takes away what a list sets before its items. Stars without a
// blank behind them are a masked address.
func dropBullet(t string) string {
	b := strings.TrimLeft(t, "*•>-→★■●・")
	if b != t && b != "" && (b[0] == ' ' || b[0] == '\t' || b[0] == '<' || t[0] >= 0x80) {
		t = strings.TrimLeft(b, " \t")
	}
	return t
}

// afterAddress skips what only says the address again: "<mailto:a@b>",
// "(expanded from <c@d>)".
func afterAddress(rest, addr string) string {
	for {
		t := strings.TrimLeft(rest, " \t")
		if strings.HasPrefix(t, "<") {
			if i := strings.IndexByte(t, '>'); i > 0 && (strings.Contains(t[:i], "mailto:") || strings.Contains(t[:i], addr)) {
				rest = t[i+1:]
				continue
			}
		}
		for _, p := range []string{"(expanded from", "(generated from", "(ultimately generated from", "(original", "(was "} {
			if strings.HasPrefix(t, p) {
				if i := strings.IndexByte(t, ')'); i > 0 {
					rest = t[i+1:]
					t = ""
				}
				break
			}
		}
		if t != "" || rest == "" {
			return strings.TrimRight(rest, " \t")
		}
	}
}

// headRest tells whether what follows an address that starts a line makes it a
// head, not the start of a sentence.
func headRest(rest string) bool {
	t := strings.TrimSpace(rest)
	if t == "" {
		return true
	}
	switch rest[0] {
	case ':', '(', ',', ';', '\t', '-', '[', '=':
		return true
	case '.':
		return strings.HasPrefix(rest, "...")
	}
	if strings.HasPrefix(t, "on ") || strings.HasPrefix(t, "- ") || strings.HasPrefix(t, ": ") || strings.HasPrefix(t, "(") || strings.HasPrefix(t, "...") || digit(t[0]) {
		return true
	}
	return saysUndelivered(t) || findPhrases(normalize(t)).reason != ReasonNone
}

// recipientLabels stand before a colon and the address that failed.
var recipientLabels = []string{
	"recipient", "recipients", "recipient address", "recipient(s)", "recipient email", "recipient name", "failed recipient", "failed recipients", "failed recipient(s)", "original recipient", "final recipient", "intended recipient", "bad recipient",
	"rcpt to", "rcpt", "envelope to", "envelope-to", "addressed to", "to address", "failed address", "undeliverable address", "undelivered to", "undeliverable to", "could not be delivered to", "user", "address", "mailbox", "email", "e-mail", "email address", "failed to", "sent to", "mail to", "your message to", "your mail to", "message to", "for",
	"destinataire", "destinataires", "destinatario", "destinatário", "empfänger", "empfängeradresse", "ontvanger", "получатель", "адрес получателя", "宛先", "送信先", "收件人",
}

// sentence reads a line that names an address in words of failure, or behind a
// label.
func (r *lineReader) sentence(t string) bool {
	before, addr, after, ok := findAddress(t)
	if !ok {
		return false
	}
	key := strings.ToLower(addr)
	label, isLabel := strings.CutSuffix(strings.TrimRight(before, " \t<\"'("), ":")
	label = strings.ToLower(strings.TrimSpace(dropBullet(label)))
	rank := 0
	switch {
	case isLabel && (label == "to" || r.senders[key] && inList(recipientLabels, label)):
		rank = rankLabel
	case isLabel && inList(recipientLabels, label):
		rank = rankHead
	case r.senders[key]:
	case saysUndelivered(before) || saysUndelivered(after) || failsBefore(before) || isLabel && findPhrases(normalize(before)).reason != ReasonNone:
		rank = rankSentence
	}
	if rank == 0 || label == "to" && r.senders[key] {
		return false
	}
	m := r.mention(addr, rank)
	if m == nil || rank == rankLabel {
		return false
	}
	if m.own == nil {
		r.group, r.filled = new(strings.Builder), false
		m.own = r.group
	} else {
		r.group = m.own
	}
	if rank == rankSentence {
		r.text(t)
	} else if rest := strings.TrimLeft(after, " \t>)'\".,;:"); rest != "" {
		r.text(rest)
	}
	return true
}

func inList(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// failsBefore reports words that end right before the address that failed.
func failsBefore(before string) bool {
	low := strings.TrimRight(strings.ToLower(before), " \t<\"'(:`")
	for _, w := range []string{"message to", "mail to", "email to", "deliver to", "delivered to", "delivery to", "following address", "the address", "for recipient", "to recipient", "recipient", "rejected"} {
		if strings.HasSuffix(low, w) {
			return saysUndelivered(low) || strings.HasSuffix(low, "rejected "+w) || w == "deliver to" || w == "delivered to" || w == "following address" || w == "message to" && strings.HasPrefix(low, "the following")
		}
	}
	return false
}

// isHelp reports a line that is about something else: where to turn to (its
// address did not fail), or that a scanner was pleased.
func isHelp(t string) bool {
	low := strings.ToLower(t)
	if strings.Contains(low, "has been scanned") {
		return true
	}
	for _, w := range []string{"assistance", "please send mail to", "please contact", "contact the", "contact your", "for more information", "for help", "questions", "please forward", "report this", "if you need", "unsubscribe", "お問い合わせ", "ご連絡"} {
		if strings.Contains(low, w) && strings.IndexByte(t, '@') >= 0 {
			return true
		}
	}
	return false
}
