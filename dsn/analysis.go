package dsn

import (
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// An analysis makes the result of what was collected.
type analysis struct {
	*Collector
	root    *mime.Part
	result  *Result
	senders map[string]bool // who the report was sent to
	scan    *scan
}

func (a *analysis) run() {
	r, h := a.result, a.root.Header
	a.senders = map[string]bool{}
	for _, name := range []string{"To", "Delivered-To", "X-Original-To"} {
		for _, to := range h.Addresses(name) {
			a.senders[strings.ToLower(to.Addr)] = true
		}
	}
	a.about(a.original(a.root))
	switch {
	case a.complaint(), a.disposition(), a.notification(), a.report(), a.freeText():
	default:
		a.hints()
	}
	if !r.IsReport() && r.Kind != KindComplaint && r.Kind != KindDisposition {
		r.Original = Original{} // an attached message, not one reported on
		if ids := h.MessageIDs("In-Reply-To"); r.Kind == KindAutoReply && len(ids) > 0 {
			r.Original.MessageID = ids[0]
		}
	}
}

// about takes what a header tells of the message that came back.
func (a *analysis) about(h mime.Header) {
	o := &a.result.Original
	if ids := h.MessageIDs("Message-ID"); o.MessageID == "" && len(ids) > 0 {
		o.MessageID = ids[0]
	}
	if from := h.Addresses("From"); o.From == "" && len(from) > 0 {
		o.From = from[0].Addr
	}
	if o.Subject == "" {
		o.Subject = h.Text("Subject")
	}
	if len(o.To) == 0 {
		for _, to := range h.Addresses("To") {
			if to.Addr != "" && len(o.To) < maxListed {
				o.To = append(o.To, to.Addr)
			}
		}
	}
}

// hints gives the kind where there is no report at all.
func (a *analysis) hints() {
	r, h := a.result, a.result.Hints
	switch {
	case h.Person:
		return
	case h.AutoReply && !h.List:
		r.Kind, r.Confidence = KindAutoReply, ConfidenceHigh
	case h.List || h.Bulk:
		r.Kind, r.Confidence = KindList, ConfidenceHigh
	case h.AutoReply:
		r.Kind, r.Confidence = KindAutoReply, ConfidenceHigh
	case h.Automatic:
		r.Kind, r.Confidence = KindAutomatic, ConfidenceMedium
	}
}

// complaint reads a feedback report, or what some providers send instead.
func (a *analysis) complaint() bool {
	r := a.result
	part, body := a.find(isFeedback)
	switch {
	case part != nil:
		f := ParseFeedback(body)
		r.Feedback, r.Agent, r.Confidence = f, f.UserAgent, ConfidenceCertain
		r.Original.EnvelopeID = f.OriginalEnvelopeID
		if len(f.OriginalRcptTo) > 0 {
			r.Original.To = f.OriginalRcptTo
		}
	case strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.root.Header.Text("Subject"))), "complaint about message from") && !r.Original.IsZero():
		r.Confidence = ConfidenceMedium
	default:
		return false
	}
	r.Kind = KindComplaint
	for _, addr := range r.Original.To {
		if isAddress(addr) {
			r.Outcomes = append(r.Outcomes, Outcome{Recipient: addr, Reason: ReasonComplaint})
		}
	}
	if len(r.Outcomes) == 0 { // who complains is often not told, for privacy
		r.Outcomes = []Outcome{{Reason: ReasonComplaint}}
	}
	return true
}

func (a *analysis) disposition() bool {
	part, body := a.find(isDisposition)
	if part == nil {
		return false
	}
	r := a.result
	d := ParseDisposition(body)
	r.Kind, r.Confidence, r.Disposition, r.Agent = KindDisposition, ConfidenceCertain, d, d.ReportingUA
	if d.OriginalMessageID != "" {
		r.Original.MessageID = d.OriginalMessageID
	}
	return true
}

// report reads a delivery status in the standard form.
func (a *analysis) report() bool {
	body := a.statuses()
	if len(body) == 0 || !IsReport(a.root) {
		return false
	}
	rep := parse(body, true)
	if len(rep.Recipients) == 0 {
		return false
	}
	a.standard(rep, ConfidenceCertain)
	return true
}

// standard makes the outcomes of a report, with the free text beside it.
func (a *analysis) standard(rep *Report, c Confidence) {
	r := a.result
	r.Report, r.Confidence, r.Agent = rep, c, rep.ReportingMTA.Value
	r.Original.EnvelopeID = rep.OriginalEnvelopeID
	s := a.read()
	failed := a.failedHeader()
	for i := range rep.Recipients {
		rc := &rep.Recipients[i]
		o := Outcome{
			Recipient: rc.FinalRecipient.Addr(), OriginalRecipient: rc.OriginalRecipient.Addr(), Action: rc.Action,
			RemoteMTA: rc.RemoteMTA.Value, Text: shortLine(rc.Diagnostic.Text),
		}
		switch {
		case o.Recipient == "" || !isAddress(o.Recipient) && isAddress(o.OriginalRecipient):
			o.Recipient = o.OriginalRecipient
		case !isAddress(o.Recipient) && len(failed) == 1 && strings.ContainsAny(o.Recipient, "/|"):
			o.Recipient = failed[0] // a file or a pipe, as Exim tells
		}
		ev := evidence{diagnostic: rc.Diagnostic.Text, comment: rc.StatusRaw, field: rc.Status, only: len(rep.Recipients) == 1}
		ev.local = rc.Diagnostic.Type != "smtp" && rc.Diagnostic.Type != "smtps" && rc.RemoteMTA == (TypedName{})
		ev.mention = s.byAddr[strings.ToLower(o.Recipient)]
		if ev.mention == nil {
			ev.mention = s.byAddr[strings.ToLower(o.OriginalRecipient)]
		}
		status, _ := ParseStatus(rc.Status)
		switch {
		case rc.Action == ActionDelivered, rc.Action == ActionRelayed, rc.Action == ActionExpanded,
			rc.Action == "" && status.Class == 2 && replyOf(rc.Diagnostic.Text) == 0:
			o.Status = status
		default:
			ev.settle(&o, s)
		}
		r.Outcomes = append(r.Outcomes, o)
	}
	r.Kind = kindOf(r.Outcomes)
}

// kindOf sums up: one failure makes a bounce. Where the action is missing the
// class of the status tells.
func kindOf(all []Outcome) Kind {
	kind := KindDelivered
	for _, o := range all {
		switch {
		case o.Action == ActionDelivered, o.Action == ActionRelayed, o.Action == ActionExpanded,
			o.Action == "" && o.Status.Class == 2:
		case o.Action == ActionDelayed, o.Action == "" && o.Status.Class == 4 && !o.StatusDerived:
			kind = KindDelay
		default:
			return KindBounce
		}
	}
	return kind
}

// read scans the free text, once.
func (a *analysis) read() *scan {
	if a.scan == nil {
		a.scan = scanText(a.text(maxText), a.senders)
		if a.result.Original.MessageID == "" {
			a.about(a.scan.original)
		}
	}
	return a.scan
}

// failedHeader gives the addresses of X-Failed-Recipients, which Exim and Gmail
// write.
func (a *analysis) failedHeader() []string {
	var all []string
	for _, f := range a.root.Header.Addresses("X-Failed-Recipients") {
		if f.Addr != "" && len(all) < maxMentions {
			all = append(all, f.Addr)
		}
	}
	return all
}

// freeText reads a report that follows no standard.
func (a *analysis) freeText() bool {
	r := a.result
	score := a.headerScore()
	if score < 0 { // a person who writes about a report
		return false
	}
	need := 4
	if score == 0 {
		need = 5
		// Most mail ends here: its text is looked at only a little.
		if probe := a.text(maxProbe); !saysUndelivered(probe) && !mentionsStatus(probe) {
			return false
		}
	}
	s := a.read()
	if s.fields.Len() > 0 {
		// The fields of a report in the text: the part was lost or never made.
		if rep := parse([]byte(s.fields.String()), true); len(rep.Recipients) > 0 && score+bodyScore(s) >= 3 {
			a.standard(rep, ConfidenceHigh)
			return true
		}
	}
	failed := a.failedHeader()
	chosen := s.choose(failed)
	coded, clear := false, false
	for _, m := range chosen {
		o := Outcome{Recipient: m.addr, Action: ActionFailed}
		ev := evidence{mention: m, only: len(chosen) == 1, local: true}
		ev.settle(&o, s)
		coded = coded || o.Reply != 0 || !o.StatusDerived && !o.Status.IsZero()
		clear = clear || o.Reason != ReasonUnknown && o.Reason != ReasonTemporary && o.Reason != ReasonPolicy && m.rank > rankLabel
		r.Outcomes = append(r.Outcomes, o)
	}
	if len(chosen) == 0 && len(r.Original.To) == 1 && score >= 4 && bodyScore(s) > 0 {
		// Nobody is named: it was sent to one only.
		o := Outcome{Recipient: r.Original.To[0], Action: ActionFailed}
		ev := evidence{mention: &mention{}, only: true, local: true}
		ev.settle(&o, s)
		r.Outcomes = append(r.Outcomes, o)
	}
	score += bodyScore(s)
	if len(failed) > 0 {
		score += 2
	}
	if coded {
		score++
	}
	if clear {
		score++
	}
	if len(r.Outcomes) == 0 || score < need {
		r.Outcomes = nil
		return false
	}
	r.Kind, r.Confidence = kindOf(r.Outcomes), ConfidenceLow
	switch {
	case score >= 6 && coded:
		r.Confidence = ConfidenceHigh
	case score >= 5:
		r.Confidence = ConfidenceMedium
	}
	return true
}

// headerScore weighs what the header says for a report, against what it says
// for a person who writes about one.
func (a *analysis) headerScore() int {
	h, x := a.root.Header, a.result.Hints
	score := 0
	if x.Postmaster {
		score += 2
	}
	if x.NullSender {
		score++
	}
	if h.Has("X-Failed-Recipients") {
		score += 2
	}
	if t := strings.ToLower(a.root.Params["report-type"]); a.root.Type == "multipart/report" && (t == "" || t == "delivery-status") {
		score += 3
	}
	if undeliveredSubject(h.Text("Subject")) {
		score += 2
	}
	if strings.HasPrefix(strings.ToLower(h.Text("Subject")), "postfix smtp server") {
		score -= 9 // tells the postmaster of a strange client; nobody's message came back
	}
	if !x.Postmaster && !x.NullSender {
		subject := strings.ToLower(strings.TrimSpace(h.Text("Subject")))
		for _, p := range []string{"re:", "fw:", "fwd:", "aw:", "wg:", "tr:", "rv:"} {
			if strings.HasPrefix(subject, p) {
				score -= 3
			}
		}
		if x.List || x.Bulk || x.Person {
			score -= 3
		}
		if h.Has("In-Reply-To") || h.Has("References") || h.Has("X-Mailer") || h.Has("User-Agent") {
			score -= 2
		}
	}
	return score
}

func bodyScore(s *scan) int {
	score := 0
	if s.words {
		score += 2
	}
	if s.replies {
		score++
	}
	return score
}

func mentionsStatus(text string) bool {
	for l := range strings.Lines(text) {
		if isStatusField(l) {
			return true
		}
	}
	return strings.HasPrefix(strings.TrimSpace(text), "{")
}

// choose picks the recipients that failed: those named most plainly, and those
// that the header names.
func (s *scan) choose(failed []string) []*mention {
	var chosen []*mention
	named := map[string]bool{}
	for _, f := range failed {
		named[strings.ToLower(f)] = true
	}
	best := 0
	for _, m := range s.mentions {
		best = max(best, min(m.rank, rankHead))
		if named[strings.ToLower(m.addr)] {
			chosen = append(chosen, m)
		}
	}
	if len(failed) == 0 {
		for _, m := range s.mentions {
			if min(m.rank, rankHead) == best {
				chosen = append(chosen, m)
			}
		}
		return chosen
	}
	for _, m := range chosen {
		delete(named, strings.ToLower(m.addr))
	}
	for _, f := range failed {
		if named[strings.ToLower(f)] {
			delete(named, strings.ToLower(f))
			chosen = append(chosen, &mention{addr: f})
		}
	}
	return chosen
}

// replyOf finds the first SMTP reply code of a refusal in text.
func replyOf(text string) int {
	for w := range strings.FieldsSeq(text) {
		w = strings.TrimLeft(w, "(#'\"[")
		if len(w) >= 3 && (w[0] == '4' || w[0] == '5') && digit(w[1]) && w[1] <= '5' && digit(w[2]) && (len(w) == 3 || strings.IndexByte("-:,.;)'\"]", w[3]) >= 0 && (len(w) == 4 || w[3] != '.' && w[3] != ':')) {
			n, _ := strconv.Atoi(w[:3]) // three digits
			return n
		}
	}
	return 0
}
