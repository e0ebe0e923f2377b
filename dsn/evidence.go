package dsn

import "strings"

// evidence is all that a report says about one recipient, the best first: the
// server's answer in its field, the Status field, the free text.
type evidence struct {
	diagnostic, comment, field string
	mention                    *mention
	only                       bool // the report has no other recipient
	local                      bool // nothing tells of another server
}

// A reading is a text with what was found in it.
type reading struct {
	line           string // the text on one line, cut at MaxText
	words          findings
	telling, vague Status // the first code of each sort
	reply          int
	own            bool // the reporting system's own words, not another server's
}

func readText(text string) *reading {
	x := &reading{line: shortLine(text), words: findPhrases(normalize(text)), reply: replyOf(text)}
	x.telling, x.vague = statusIn(text)
	x.own = x.words.reason != ReasonNone && ownWords(text, x.words.reason)
	return x
}

// settle fills in status, reason and the like.
func (e *evidence) settle(o *Outcome, s *scan) {
	said := e.said(s)
	if o.Text == "" && len(said) > 0 {
		o.Text = said[0].line
	}
	for _, x := range said {
		if o.Reply == 0 {
			o.Reply = x.reply
		}
	}
	o.Status = e.status(said)

	// The words: the first text with telling ones rules.
	var words findings
	local := false
	for i, x := range said {
		f := x.words
		// What is said farther off does not overrule even a hint near by.
		near := words.weak != ReasonUserUnknown && words.weak != ReasonBlocked
		if words.command == "" {
			words.command = f.command
		}
		if words.weak == ReasonNone {
			words.weak = f.weak
		}
		words.delayed = words.delayed || f.delayed
		if words.reason == ReasonNone && f.reason != ReasonNone && near {
			words.reason, words.groups = f.reason, f.groups
			local = (e.local || i > 0) && x.own
		}
	}
	if words.command == "" {
		words.command = e.command(s)
	}
	o.Command = words.command
	if o.Action == ActionFailed && e.diagnostic == "" && e.field == "" && words.delayed {
		o.Action = ActionDelayed
	}
	v := judge(words, o.Status, o.Reply, local)
	o.Reason, o.Hard = v.reason, v.hard && o.Action != ActionDelayed
	if o.Status.IsZero() {
		o.Status, o.StatusDerived = derive(v, o), true
	}
}

// status picks the code: a telling one in the answer, else a telling one in the
// field, else one in the text, else one that says no more than failed.
func (e *evidence) status(said []*reading) Status {
	field, _ := ParseStatus(e.field)
	if telling, _ := statusIn(e.diagnostic); !telling.IsZero() {
		return telling
	}
	if !field.IsZero() && !field.generic() {
		return field
	}
	for _, x := range said {
		if !x.telling.IsZero() {
			return x.telling
		}
	}
	if !field.IsZero() {
		return field
	}
	for _, x := range said {
		if !x.vague.IsZero() {
			return x.vague
		}
	}
	return Status{}
}

// said gives what is said about the recipient, the nearest first.
func (e *evidence) said(s *scan) []*reading {
	var all []*reading
	put := func(t string) {
		if strings.TrimSpace(t) != "" {
			all = append(all, readText(t))
		}
	}
	diagnostic := e.diagnostic
	if i := strings.IndexByte(e.comment, '('); i >= 0 {
		diagnostic += " " + e.comment[i:]
	}
	put(diagnostic)
	if m := e.mention; m != nil {
		if m.own != nil {
			put(m.own.String())
		}
		put(m.reply.String())
	}
	if s != nil && s.shared.Len() > 0 && (e.only || len(all) == 0) {
		if s.sharedRead == nil { // once, whatever the number of recipients
			s.sharedRead = readText(s.shared.String())
		}
		all = append(all, s.sharedRead)
	}
	return all
}

func (e *evidence) command(s *scan) string {
	if e.mention != nil && e.mention.command != "" {
		return e.mention.command
	}
	if s != nil && e.only && s.command != "QUIT" {
		return s.command
	}
	return ""
}

// ownWords reports whether the reporting system itself says it, not another
// server that it quotes.
func ownWords(text string, want Reason) bool {
	low := strings.ToLower(text)
	for _, w := range []string{"said:", "remote host", "remote server", "other server", "remote mail server", "while talking to", "<<<", "replied:"} {
		if strings.Contains(low, w) {
			return false
		}
	}
	for l := range strings.Lines(text) {
		if replyOf(l) == 0 && findPhrases(normalize(l)).reason == want {
			return true
		}
	}
	return false
}

// statusIn finds the first code that tells something, and the first that
// does not.
func statusIn(text string) (telling, vague Status) {
	for text != "" {
		code := findStatus(text)
		if code == "" {
			return telling, vague
		}
		st, _ := ParseStatus(code)
		switch {
		case st.Class == 2:
		case !st.generic():
			return st, vague
		case vague.IsZero():
			vague = st
		}
		text = text[strings.Index(text, code)+len(code):]
	}
	return telling, vague
}

// derive makes a code of the reason.
func derive(v verdict, o *Outcome) Status {
	st := Status{Class: 5}
	if o.Reply/100 == 4 || o.Reply == 0 && transient[v.reason] || o.Action == ActionDelayed {
		st.Class = 4
	}
	if x, ok := reasonStatus[v.reason]; ok {
		st.Subject, st.Detail = x[0], x[1]
	}
	return st
}
