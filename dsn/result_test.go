package dsn

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/mime"
)

func TestStatusTexts(t *testing.T) {
	st, ok := ParseStatus("smtp; 550 5.1.1 no")
	require.True(t, ok)
	assert.Equal(t, Status{5, 1, 1}, st)
	assert.Equal(t, "5.1.1", st.String())
	assert.Equal(t, [3]string{"permanent failure", "address", "no such mailbox at this host"}, [3]string{st.ClassText(), st.SubjectText(), st.DetailText()})
	st, _ = ParseStatus("4.9.999")
	assert.Equal(t, [3]string{"temporary failure", "", ""}, [3]string{st.ClassText(), st.SubjectText(), st.DetailText()})
	_, ok = ParseStatus("550 no")
	assert.False(t, ok)
	assert.Zero(t, Status{}.String()+Status{}.ClassText()+Status{}.SubjectText()+Status{}.DetailText())
	assert.True(t, Status{}.IsZero())
	for k, text := range detailTexts {
		assert.NotEmpty(t, text)
		assert.NotEmpty(t, Status{5, k[0], k[1]}.SubjectText(), "a detail of an unknown subject")
	}
}

func TestReasonsHaveCodes(t *testing.T) {
	for k := range statusReasons {
		assert.Contains(t, detailTexts, k)
	}
	for reason, k := range reasonStatus {
		assert.Contains(t, detailTexts, k, reason)
	}
}

// knownReasons are those that words may tell.
var knownReasons = []Reason{
	ReasonUserUnknown, ReasonHostUnknown, ReasonMoved, ReasonNoMail, ReasonDisabled, ReasonMailboxFull, ReasonFiltered, ReasonTooBig, ReasonSpam, ReasonVirus, ReasonContent, ReasonAuthentication,
	ReasonBlocked, ReasonRateLimit, ReasonSender, ReasonRelay, ReasonPolicy, ReasonSecurity, ReasonNetwork, ReasonExpired, ReasonLoop, ReasonSystem, ReasonProtocol, ReasonTemporary,
}

// Words and code that agree go before other words.
func TestAgreement(t *testing.T) {
	f := findPhrases(normalize("550 5.1.1 user unknown; to our spam filter you are new"))
	assert.Equal(t, ReasonSpam, f.reason)
	assert.True(t, f.has(ReasonUserUnknown))
	assert.False(t, f.has(ReasonRelay))
	assert.Equal(t, verdict{ReasonUserUnknown, true}, judge(f, Status{5, 1, 1}, 550, false))
	assert.Equal(t, verdict{ReasonSpam, false}, judge(f, Status{5, 7, 1}, 550, false))
	assert.LessOrEqual(t, len(phraseGroups()), 64, "findings has a bit for each")
}

// Every phrase must be found by itself, as what it stands for: a phrase that a
// stronger group covers is dead weight or a mistake.
func TestPhrases(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range phraseGroups() {
		if g.reason != ReasonNone {
			assert.Contains(t, knownReasons, g.reason)
		}
		for _, p := range g.phrases {
			assert.GreaterOrEqual(t, len(p), 3, p)
			assert.False(t, seen[p] && g.command == "", "twice: %s", p)
			seen[p] = true
			assert.Equal(t, p, normalize(p), "a phrase in a form that no text has")
			f := findPhrases(p)
			switch {
			case g.delayed:
				assert.True(t, f.delayed, p)
			case g.command != "":
				assert.NotEmpty(t, f.command, p)
			case g.weak:
				assert.NotEqual(t, ReasonNone, f.weak, p)
			default:
				assert.Equal(t, g.reason, f.reason, p)
			}
		}
	}
}

func TestUndeliveredWords(t *testing.T) {
	for _, w := range undeliveredWords {
		assert.True(t, saysUndelivered("x "+strings.ToUpper(w)), w)
	}
	assert.True(t, saysUndelivered("it couldn’t\r\n  be delivered"))
	assert.False(t, saysUndelivered("all is well"))
	assert.False(t, saysUndelivered(""))
}

func TestHints(t *testing.T) {
	cases := []struct {
		name, header string
		want         Hints
	}{
		{"a person", "From: ann@example.com\nSubject: Hi\n", Hints{}},
		{"a person says so", "From: ann@example.com\nAuto-Submitted: no\nSubject: Automatic reply: x\nX-Autoreply: yes\n", Hints{Person: true}},
		{"a comment", "Auto-Submitted: (by hand) No; x=y\n", Hints{Person: true}},
		{"replied", "Auto-Submitted: auto-replied (vacation)\n", Hints{Automatic: true, AutoReply: true}},
		{"generated", "Auto-Submitted: auto-generated\n", Hints{Automatic: true}},
		{"a word of the future", "Auto-Submitted: auto-dreamt\n", Hints{Automatic: true}},
		{"null sender", "Return-Path: <>\n", Hints{Automatic: true, NullSender: true}},
		{"mail system", "From: Mail Delivery System <x@example.com>\n", Hints{Postmaster: true}},
		{"mail system in a comment", "From: MAILER-DAEMON@example.com (Mail Delivery System)\n", Hints{Postmaster: true}},
		{"list", "List-Id: <a.example>\nPrecedence: list\n", Hints{List: true, Bulk: true}},
		{"one click", "List-Unsubscribe: <https://a.example>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n", Hints{List: true, Bulk: true}},
		{"old vacation", "X-Autoreply: yes\n", Hints{Automatic: true, AutoReply: true}},
		{"old vacation off", "X-Autoreply: no\n", Hints{}},
		{"by precedence", "Precedence: auto_reply\n", Hints{Automatic: true, AutoReply: true}},
		{"by subject", "Subject: =?utf-8?q?R=C3=A9ponse_automatique_=3A?= x\n", Hints{Automatic: true, AutoReply: true}},
		{"Exchange's wish", "X-Auto-Response-Suppress: All\n", Hints{}},
	}
	for _, c := range cases {
		assert.Equal(t, c.want, HintsOf(mime.ParseHeader([]byte(c.header))), c.name)
	}
}

func TestDisposition(t *testing.T) {
	d := ParseDisposition([]byte("Reporting-UA: desk.example; Reader (1.0)\nMDN-Gateway: dns; gw.example\nOriginal-Recipient: utf-8; j\\x{F6}rg@example.com\n" +
		"Final-Recipient: rfc822;ann@example.com\nOriginal-Message-ID: <a@b>\nDisposition: (x) Manual-Action / MDN-sent-manually ; Deleted / error, Later\nError: no room\nError: no time\nX-A: b\n"))
	assert.Empty(t, d.Defects)
	assert.Equal(t, "yes", map[bool]string{true: "yes"}[d.Header.Has("X-A")])
	d.Header = mime.Header{}
	assert.Equal(t, &Disposition{
		ReportingUA: "desk.example", ReportingProduct: "Reader (1.0)", Gateway: TypedName{"dns", "gw.example"},
		OriginalRecipient: TypedName{"utf-8", "jörg@example.com"}, FinalRecipient: TypedName{"rfc822", "ann@example.com"}, OriginalMessageID: "a@b",
		ActionMode: "manual-action", SendingMode: "mdn-sent-manually", Type: "deleted", Modifiers: []string{"error", "later"}, Errors: []string{"no room", "no time"},
	}, d)
	for _, in := range []string{"", "Disposition: displayed\n", "Disposition: x;\n", "Disposition: ((;\n"} {
		assert.Len(t, ParseDisposition([]byte(in)).Defects, 1, in)
	}
	assert.Equal(t, "displayed", ParseDisposition([]byte("Disposition: displayed\n")).Type)
}

func TestFeedback(t *testing.T) {
	f := ParseFeedback([]byte("Feedback-Type: Auth-Failure\nUser-Agent: Loop/1\nVersion: 1\nOriginal-Mail-From: <sam@sender.example>\nOriginal-Rcpt-To: <ann@example.com>\nOriginal-Rcpt-To: bea@example.com\n" +
		"Original-Envelope-Id: a+2Bb\nReceived-Date: Fri, 2 Jan 2026 03:04:05 +0000\nReporting-MTA: dns; mx.example\nSource-IP: [IPv6:2001:db8::1]\nSource-Port: 4711\nIncidents: 3\n" +
		"Reported-Domain: a.example\nReported-Domain: b.example\nReported-URI: http://a.example/\nAuth-Failure: DMARC\nDelivery-Result: reject\nCFBL-Feedback-ID: 1:2\nAuthentication-Results: mx; spf=fail\n"))
	assert.Empty(t, f.Defects)
	f.Header = mime.Header{}
	assert.Equal(t, &Feedback{
		Type: FeedbackAuthFailure, UserAgent: "Loop/1", Version: "1", OriginalMailFrom: "sam@sender.example", OriginalRcptTo: []string{"ann@example.com", "bea@example.com"}, OriginalEnvelopeID: "a+b",
		Arrival: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), ReportingMTA: TypedName{"dns", "mx.example"}, SourceIP: netip.MustParseAddr("2001:db8::1"), SourcePort: 4711, Incidents: 3,
		AuthenticationResults: []string{"mx; spf=fail"}, ReportedDomains: []string{"a.example", "b.example"}, ReportedURIs: []string{"http://a.example/"},
		AuthFailure: "dmarc", DeliveryResult: "reject", FeedbackID: "1:2",
	}, withUTC(f))
	f = ParseFeedback([]byte("Source-IP: nowhere\nSource-Port: 99999\nIncidents: -1\n"))
	assert.Len(t, f.Defects, 1)
	assert.False(t, f.SourceIP.IsValid())
	assert.Zero(t, f.SourcePort)
	assert.Equal(t, 1, f.Incidents)
}

func withUTC(f *Feedback) *Feedback {
	f.Arrival = f.Arrival.UTC()
	return f
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"<a@b.example>: no": "a@b.example", "a@b.example, x": "a@b.example", "'a@b.example'": "a@b.example", `"a b"@c.example x`: `"a b"@c.example`, "a@[192.0.2.1]": "a@[192.0.2.1]",
		"user@domain": "user@domain", "<mailto:a@b.example>": "a@b.example", "ö@ü.example.": "ö@ü.example", "": "", "@b": "", "a@": "", "a b@c.example": "", `"a@b.example"`: "a@b.example",
	} {
		got, _, _, ok := scanAddress(in)
		assert.Equal(t, want, got, in)
		assert.Equal(t, want != "", ok, in)
	}
	for in, want := range map[string][3]string{
		"to <a@b.example> no":     {"to <", "a@b.example", "> no"},
		"an 宛先@b.example":         {"an ", "宛先@b.example", ""},
		`x "a b"@c.example y`:     {"x ", `"a b"@c.example`, " y"},
		"@ @@ a@ x@y.example":     {"@ @@ a@ ", "x@y.example", ""},
		"no address at all, @all": {"", "", ""},
	} {
		before, addr, after, _ := findAddress(in)
		assert.Equal(t, want, [3]string{before, addr, after}, in)
	}
}

func TestReplyOf(t *testing.T) {
	for in, want := range map[string]int{
		"550 no": 550, "smtp; 421-x": 421, "said: (554) y": 554, "[550 5.1.1 x]": 550, "port 587": 0, "5.1.1 x": 0, "192.0.2.550": 0, "550.1.2.3": 0, "250 ok": 0, "12550": 0, "599 x": 0, "": 0, "550: : x": 550,
	} {
		assert.Equal(t, want, replyOf(in), in)
	}
}

func TestMatches(t *testing.T) {
	r := &Result{Original: Original{MessageID: "a@b", EnvelopeID: "e"}}
	assert.True(t, r.Matches("<a@b>", ""))
	assert.True(t, r.Matches("", "e"))
	assert.True(t, r.Matches("other", "e"))
	assert.False(t, r.Matches("other", "other"))
	assert.False(t, (&Result{}).Matches("", ""), "unknown is no match (A50)")
}

func TestResultPrimary(t *testing.T) {
	r := &Result{}
	assert.Nil(t, r.Primary())
	r.Outcomes = []Outcome{{Recipient: "a", Action: ActionDelayed}, {Recipient: "b", Action: ActionFailed}}
	assert.Equal(t, "b", r.Primary().Recipient)
	r.Outcomes = r.Outcomes[:1]
	assert.Equal(t, "a", r.Primary().Recipient)
}

// hold is a sink that takes everything, containers that are messages whole.
type hold struct {
	Collector
	whole bool
	got   map[string]*bytes.Buffer
}

func (h *hold) Begin(p *mime.Part) (io.Writer, error) {
	if p.IsMultipart() || p.IsMessage() && !h.whole {
		return h.Tap(p, nil), nil
	}
	b := new(bytes.Buffer)
	h.got[p.Path] = b
	return h.Tap(p, b), nil
}

// A sink behind Tap gets every byte, and the result is the same whether it
// descends into the returned message or takes it whole.
func TestTap(t *testing.T) {
	in := "From: MAILER-DAEMON@mx.example\nContent-Type: multipart/report; boundary=b\n\n--b\n\nx\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\n" +
		"Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n\n--b\nContent-Type: message/rfc822\n\nMessage-ID: <m@b.example>\n\nhello\n--b--\n"
	for _, whole := range []bool{false, true} {
		h := &hold{whole: whole, got: map[string]*bytes.Buffer{}}
		root, err := mime.Parse(strings.NewReader(in), h)
		require.NoError(t, err)
		r := h.Result(root)
		assert.Equal(t, "m@b.example", r.Original.MessageID)
		assert.Equal(t, KindBounce, r.Kind)
		assert.Contains(t, h.got["2"].String(), "Status: 5.1.1")
		if whole {
			assert.Equal(t, "Message-ID: <m@b.example>\n\nhello", h.got["3"].String())
		}
	}
	var c Collector
	assert.Equal(t, &Result{}, c.Result(nil))
}

// What a collector keeps is bounded whatever comes.
func TestCollectorIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("From: MAILER-DAEMON@x\nContent-Type: multipart/report; boundary=b\n\n")
	for range 40 {
		for _, typ := range []string{"text/plain", "message/delivery-status", "text/rfc822-headers"} {
			b.WriteString("--b\nContent-Type: " + typ + "\n\n" + strings.Repeat("550 a@b.example no such user\n", 4000))
		}
	}
	var c Collector
	root, err := mime.Parse(strings.NewReader(b.String()), &c)
	require.NoError(t, err)
	kept := 0
	for _, k := range c.parts {
		kept += cap(k.buf)
	}
	assert.Less(t, kept, 3<<20)
	r := c.Result(root)
	for _, o := range r.Outcomes {
		assert.LessOrEqual(t, len(o.Text), MaxText)
	}
}

// hostileReports make reports of about n bytes.
var hostileReports = []struct {
	name string
	make func(n int) string
}{
	{"heads", func(n int) string { return strings.Repeat("<a@b.example>: no\n", n/18) }},
	{"one line", func(n int) string { return strings.Repeat("a@b.example, ", n/13) }},
	{"at signs", func(n int) string { return strings.Repeat("@", n) }},
	{"at signs with words", func(n int) string { return strings.Repeat("a@ ", n/3) }},
	{"quotes", func(n int) string { return strings.Repeat("\"@", n/2) }},
	{"brackets", func(n int) string { return strings.Repeat("<a@[", n/4) }},
	{"codes", func(n int) string { return "<a@b.example>:\n" + strings.Repeat("5.0.0 ", n/6) }},
	{"dots", func(n int) string { return "<a@b.example>:\n" + strings.Repeat("5.", n/2) }},
	{"dialogue", func(n int) string { return strings.Repeat(">>> RCPT TO:<a@b.example>\n<<< 550 no\n", n/37) }},
	{"many recipients", func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString("<" + strings.Repeat("x", i%60) + string(rune('a'+i%26)) + "@b.example>: 550 no such user\n")
		}
		return b.String()
	}},
	{"fields", func(n int) string { return strings.Repeat("Final-Recipient: rfc822; a@b\n", n/29) }},
	{"fields below prose", func(n int) string {
		return strings.Repeat("it could not be delivered\n", 300) + strings.Repeat("Final-Recipient: rfc822; a@b\n\n", n/30)
	}},
	{"fields without end", func(n int) string { return strings.Repeat("Action: failed\n", n/15) }},
	{"markers", func(n int) string { return strings.Repeat("original message\n", n/17) }},
	{"header lines", func(n int) string { return strings.Repeat("X-A: b\n", n/7) + "Received: from x\n" }},
	{"expanded", func(n int) string { return "<a@b.example> " + strings.Repeat("(expanded from <a@b>) ", n/22) }},
	{"json", func(n int) string { return strings.Repeat("{\"Message\":", n/11) }},
	{"phrases", func(n int) string { return "<a@b.example>:\n" + strings.Repeat("user unknow ", n/12) }},
}

func TestA41ReportsAreLinear(t *testing.T) {
	measure := func(s string) time.Duration {
		best := time.Hour
		for range 3 {
			start := time.Now()
			_, _ = Detect(strings.NewReader(s))
			best = min(best, time.Since(start))
		}
		return best
	}
	head := "Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: Undelivered Mail\n\n"
	report := "From: MAILER-DAEMON@x.example\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
	for _, h := range hostileReports {
		for how, before := range map[string]string{"text": head, "status": report} {
			t.Run(h.name+" as "+how, func(t *testing.T) {
				const n = 20_000 // four times as much is still below what is kept
				small, large := before+h.make(n), before+h.make(4*n)
				var a, b time.Duration
				for range 3 { // a busy machine may disturb one measurement, not three
					a, b = measure(small), measure(large)
					if b < 9*a+3*time.Millisecond {
						return
					}
				}
				t.Errorf("%v for %d bytes, %v for four times as many", a, n, b)
			})
		}
	}
}

func FuzzDetect(f *testing.F) {
	for _, h := range hostileReports {
		f.Add([]byte("Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: Undelivered Mail\n\n" + h.make(200)))
	}
	f.Add([]byte("From: MAILER-DAEMON@x\nTo: a@b.example\nSubject: failure notice\n\n<c@d.example>:\nRemote host said: 550 5.1.1 no such user\n--- Below this line is a copy of the message.\n\nReceived: from x\nMessage-ID: <1@b>\n"))
	files, err := filepath.Glob(filepath.Join("testdata", "bounces", "*.eml"))
	require.NoError(f, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte("Subject: x\n\n{\"notificationType\":\"Bounce\",\"bounce\":{\"bouncedRecipients\":[{\"emailAddress\":\"a\\r\\nb\"}]}}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Detect(bytes.NewReader(in))
		if err != nil {
			t.Skip("over a limit of the parser")
		}
		texts := []string{r.Agent, r.Original.MessageID, r.Original.EnvelopeID, r.Original.From, r.Original.Subject}
		for _, o := range r.Outcomes {
			texts = append(texts, o.Recipient, o.OriginalRecipient, o.Text, o.RemoteMTA, o.Action, string(o.Reason))
			require.LessOrEqual(t, len(o.Text), MaxText)
			require.False(t, o.Hard && o.Status.Class == 4, "dead and temporary")
		}
		texts = append(texts, r.Original.To...)
		for _, s := range texts {
			require.True(t, utf8.ValidString(s), "%q", s)
			require.False(t, strings.ContainsAny(s, "\r\n\x00"), "%q", s)
		}
		require.Equal(t, r.Kind == KindNone, r.Confidence == ConfidenceNone)
		if r.IsReport() {
			require.NotEmpty(t, r.Outcomes)
		}
	})
}
