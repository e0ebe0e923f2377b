package dsn

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/mime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const full = `Reporting-MTA: dns; mail.example.net
Received-From-MTA: smtp; client.example.org (client [192.0.2.1])
DSN-Gateway: dns; gw.example.net
Original-Envelope-Id: QQ+2B314+3Dx
Arrival-Date: Fri,  2 Jan 2026 03:04:05 +0000

Original-Recipient: rfc822; ann+tag@example.com
Final-Recipient: RFC822; ann@example.com
Action: Failed (for good)
Status: 5.1.1 (bad mailbox)
Remote-MTA: dns; mx.example.com
Diagnostic-Code: SMTP; 550 5.1.1
 <ann@example.com> no such user
Last-Attempt-Date: Fri, 2 Jan 2026 03:05:00 +0000
Final-Log-ID: AB12
X-Extra: yes

Final-Recipient: rfc822; bee@example.com
Action: delayed
Status: 4.4.1
Will-Retry-Until: Sat, 3 Jan 2026 03:04:05 +0000
`

func TestParse(t *testing.T) {
	for how, in := range map[string]string{"LF": full, "CRLF": strings.ReplaceAll(full, "\n", "\r\n"), "CR": strings.ReplaceAll(full, "\n", "\r")} {
		r := Parse([]byte(in))
		assert.Empty(t, r.Defects, how)
		assert.Equal(t, TypedName{"dns", "mail.example.net"}, r.ReportingMTA)
		assert.Equal(t, TypedName{"smtp", "client.example.org (client [192.0.2.1])"}, r.ReceivedFromMTA)
		assert.Equal(t, TypedName{"dns", "gw.example.net"}, r.DSNGateway)
		assert.Equal(t, "QQ+314=x", r.OriginalEnvelopeID)
		assert.Equal(t, "Fri, 2 Jan 2026 03:04:05 +0000", r.ArrivalDate)
		require.Len(t, r.Recipients, 2)
		a, b := r.Recipients[0], r.Recipients[1]
		assert.Equal(t, "yes", a.Header.Get("X-Extra"))
		a.Header = mime.Header{}
		assert.Equal(t, Recipient{
			OriginalRecipient: TypedName{"rfc822", "ann+tag@example.com"}, FinalRecipient: TypedName{"rfc822", "ann@example.com"},
			Action: ActionFailed, Status: "5.1.1", StatusRaw: "5.1.1 (bad mailbox)", RemoteMTA: TypedName{"dns", "mx.example.com"},
			Diagnostic:      Diagnostic{"smtp", "550 5.1.1 <ann@example.com> no such user"},
			LastAttemptDate: "Fri, 2 Jan 2026 03:05:00 +0000", FinalLogID: "AB12",
		}, a)
		assert.Equal(t, ActionDelayed, b.Action)
		assert.Equal(t, "Sat, 3 Jan 2026 03:04:05 +0000", b.WillRetryUntil)
	}
}

var damaged = []struct {
	name, in   string
	recipients int
	final      string
	status     string
	defects    []mime.DefectCode
}{
	{"empty", "", 0, "", "", []mime.DefectCode{DefectEmpty}},
	{"blank", "\r\n \r\n", 0, "", "", []mime.DefectCode{DefectEmpty}},
	{"text", "Your mail could not be delivered.\n", 0, "", "", []mime.DefectCode{DefectNoRecipient}},
	{"no blank line between", "Reporting-MTA: dns; x\nFinal-Recipient: rfc822; a@b\nAction: failed\nStatus: 5.0.0\n", 1, "a@b", "5.0.0", []mime.DefectCode{DefectGroup}},
	{"group cut apart", "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\n\nAction: failed\nStatus: 5.0.0\n", 1, "a@b", "5.0.0", []mime.DefectCode{DefectAction, DefectStatus, DefectGroup}},
	{"diagnostic cut off", "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\nAction: failed\nStatus: 5.0.0\n\nDiagnostic-Code: smtp; 550\n", 1, "a@b", "5.0.0", []mime.DefectCode{DefectGroup}},
	{"no per-message group", "Final-Recipient: rfc822; a@b\nAction: failed\nStatus: 5.0.0\n", 1, "a@b", "5.0.0", nil},
	{"no type", "Reporting-MTA: x\n\nFinal-Recipient: <a@b>\nAction: failed\nStatus: 5.0.0\n", 1, "a@b", "5.0.0", nil},
	{"no status", "Reporting-MTA: x\n\nFinal-Recipient: rfc822;a@b\nAction: failed\n", 1, "a@b", "", []mime.DefectCode{DefectStatus}},
	{"bad status", "Reporting-MTA: x\n\nFinal-Recipient: rfc822;a@b\nAction: failed\nStatus: 550\n", 1, "a@b", "", []mime.DefectCode{DefectStatus}},
	{"no action", "Reporting-MTA: x\n\nFinal-Recipient: rfc822;a@b\nStatus: 5.1.1\n", 1, "a@b", "5.1.1", []mime.DefectCode{DefectAction}},
	{"bad xtext", "Reporting-MTA: x\nOriginal-Envelope-Id: a+zz\n\nFinal-Recipient: rfc822;a@b\nAction: failed\nStatus: 5.1.1\n", 1, "a@b", "5.1.1", []mime.DefectCode{DefectXText}},
	{"utf-8 address", "Reporting-MTA: x\n\nFinal-Recipient: utf-8; j\\x{F6}rg@ex.org\nAction: failed\nStatus: 5.1.1\n", 1, "jörg@ex.org", "5.1.1", nil},
	{"junk line", "Reporting-MTA: x\n\n550 no\nFinal-Recipient: rfc822;a@b\nAction: failed\nStatus: 5.1.1\n", 1, "a@b", "5.1.1", nil},
	{"address with a semicolon", "Reporting-MTA: x\n\nFinal-Recipient: \"a;b\"@c\nAction: failed\nStatus: 5.1.1\n", 1, "\"a;b\"@c", "5.1.1", nil},
}

func TestParseDamaged(t *testing.T) {
	for _, c := range damaged {
		r := Parse([]byte(c.in))
		var got []mime.DefectCode
		for _, d := range r.Defects {
			got = append(got, d.Code)
		}
		assert.Equal(t, c.defects, got, c.name)
		require.Len(t, r.Recipients, c.recipients, c.name)
		if c.recipients > 0 {
			assert.Equal(t, c.final, r.Recipients[0].FinalRecipient.Addr(), c.name)
			assert.Equal(t, c.status, r.Recipients[0].Status, c.name)
		}
	}
}

func TestPrimary(t *testing.T) {
	assert.Nil(t, Parse(nil).Primary())
	r := &Report{Recipients: []Recipient{{Action: ActionDelayed, Status: "4.0.0"}, {Action: ActionFailed, Status: "5.0.0"}}}
	assert.Equal(t, "5.0.0", r.Primary().Status, "the first that failed")
	r.Recipients[1].Action = ActionRelayed
	assert.Equal(t, "4.0.0", r.Primary().Status, "else the first")
}

func TestStatus(t *testing.T) {
	for in, want := range map[string]string{
		"5.1.1": "5.1.1", "  4.4.7 (x)": "4.4.7", "smtp; 5.7.26": "5.7.26", "5.1": "", "3.1.1": "", "15.1.1": "", "5.1.1.1": "", "5..1": "", "5.1.1000": "", "": "", "5.x.1 5.2.2": "5.2.2",
	} {
		assert.Equal(t, want, findStatus(in), in)
	}
}

func TestXText(t *testing.T) {
	for _, s := range []string{"", "plain", "a+b=c d", "\x00\xff\r\n", "ünï"} {
		got, ok := DecodeXText(EncodeXText(s))
		assert.True(t, ok)
		assert.Equal(t, s, got)
	}
	assert.Equal(t, "a+2Bb+3D", EncodeXText("a+b="))
	for _, bad := range []string{"+", "+2", "+zz", "+-1", "a++2B"} {
		_, ok := DecodeXText(bad)
		assert.False(t, ok, bad)
	}
}

func TestIsReport(t *testing.T) {
	status := "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n"
	cases := []struct {
		name, in string
		want     bool
	}{
		{"report", "Content-Type: multipart/report; report-type=Delivery-Status; boundary=b\n\n" + status + "--b--\n", true},
		{"no parameter", "Content-Type: multipart/report; boundary=b\n\n" + status + "--b--\n", true},
		{"mixed", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n" + status + "--b--\n", true},
		{"bare", "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n", true},
		{"report without the part", "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nx\n--b--\n", true},
		{"disposition notification", "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: message/disposition-notification\n\nDisposition: x\n--b--\n", false},
		{"disposition notification under a wrong name", "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/disposition-notification\n\nDisposition: x\n--b--\n", false},
		{"feedback report", "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n--b--\n", false},
		{"forwarded report", "Content-Type: multipart/mixed; boundary=o\n\n--o\n\nsee below\n--o\nContent-Type: message/rfc822\n\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n" + status + "--b--\n--o--\n", false},
		{"text", "Subject: Undelivered Mail\n\nx", false},
	}
	for _, c := range cases {
		p, err := mime.Parse(strings.NewReader(c.in), nil)
		require.NoError(t, err)
		assert.Equal(t, c.want, IsReport(p), c.name)
	}
	assert.False(t, IsReport(nil))
	assert.Nil(t, StatusPart(nil))
}

// A report of any size is read in bounded and linear work.
func TestParseFlood(t *testing.T) {
	r := Parse([]byte(strings.Repeat("Final-Recipient: rfc822; a@b\nAction: failed\n\n", 50_000)))
	assert.Len(t, r.Recipients, MaxRecipients)
	assert.LessOrEqual(t, len(r.Defects), 64)
	r = Parse([]byte(strings.Repeat("X: y\n\n", 200_000)))
	assert.Empty(t, r.Recipients)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	for _, c := range damaged {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := Parse(in)
		texts := []string{r.ReportingMTA.Value, r.OriginalEnvelopeID, r.ArrivalDate}
		for _, rc := range r.Recipients {
			texts = append(texts, rc.Action, rc.Status, rc.FinalRecipient.Value, rc.OriginalRecipient.Value, rc.Diagnostic.Text)
		}
		for _, s := range texts {
			require.True(t, utf8.ValidString(s), "%q", s)
			require.False(t, strings.ContainsAny(s, "\r\n\x00"), "%q", s)
		}
		if p := r.Primary(); p == nil {
			require.Empty(t, r.Recipients)
		}
	})
}

func FuzzXText(f *testing.F) {
	f.Add("a+2B")
	f.Fuzz(func(t *testing.T, s string) {
		DecodeXText(s)
		got, ok := DecodeXText(EncodeXText(s))
		require.True(t, ok)
		require.Equal(t, s, got)
	})
}

func TestEnvelopeIDThatIsDecodedAlready(t *testing.T) {
	for raw, want := range map[string]string{
		"job+2B7": "job+7", "job+17": "job+17", "job+1": "job+1", "a+3Db+20c": "a=b c", "plain": "plain",
	} {
		r := Parse([]byte("Original-Envelope-Id: " + raw + "\r\n\r\n"))
		assert.Equal(t, want, r.OriginalEnvelopeID, raw)
	}
}
