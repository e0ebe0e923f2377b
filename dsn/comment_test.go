package dsn

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDropComments(t *testing.T) {
	for in, want := range map[string]string{
		"":                    "",
		"plain":               "plain",
		"(a) b (c)":           " b ",
		"(a (b) c) d":         " d",
		`(a \) b) c`:          " c",
		`"a (b)"@c (d)`:       `"a (b)"@c `,
		`"a \" (b)"@c (d)`:    `"a \" (b)"@c `,
		`5" of (x) it`:        `5" of  it`,
		"5.1.1 (never closed": "5.1.1 ",
		"a) b":                "a) b",
	} {
		assert.Equal(t, want, dropComments(in), in)
	}
	assert.Equal(t, 10, skipComments(`(x;) "y;" ;`, ';'))
	assert.Equal(t, -1, skipComments("(a;b) c", ';'))
}

// TestParseComments reads fields with comments wherever RFC 3464 2.1.3 lets
// them stand.
func TestParseComments(t *testing.T) {
	for _, tt := range []struct{ field, value, want string }{
		{"Action", "(ok) delivered", "delivered"},
		{"Action", "FAILED (for good)", "failed"},
		{"Action", "(soft (very)) delayed; x", "delayed"},
		{"Status", "(x) 5.1.1", "5.1.1"},
		{"Status", "(was 4.4.1) 5.1.1", "5.1.1"},
		{"Status", "(5.1.1)", "5.1.1"},
		{"Final-Recipient", "rfc822; a@b.c (Ann)", "rfc822|a@b.c"},
		{"Final-Recipient", "(t) rfc822 (u); (v) <a@b.c>", "rfc822|a@b.c"},
		{"Final-Recipient", "(a;b) rfc822; a@b.c", "rfc822|a@b.c"},
		{"Final-Recipient", `rfc822; "a (b)"@c.d (e)`, `rfc822|"a (b)"@c.d`},
		{"Final-Recipient", `rfc822; "a;b"@c.d`, `rfc822|"a;b"@c.d`},
		{"Final-Recipient", "a@b.c (no; type)", "|a@b.c"},
		{"Final-Recipient", "x400; /S=a/G=(b)/", "x400|/S=a/G=(b)/"},
		{"Diagnostic-Code", "(x) smtp; 550 no (really)", "smtp|550 no (really)"},
		{"Diagnostic-Code", "SMTP (y); 550 no", "smtp|550 no"},
		{"Diagnostic-Code", "550 no (such; user)", "|550 no (such; user)"},
	} {
		r := Parse([]byte("Reporting-MTA: dns; x\n\n" + tt.field + ": " + tt.value + "\nOriginal-Recipient: rfc822; o@x.org\n"))
		require.Len(t, r.Recipients, 1, tt.value)
		rc := r.Recipients[0]
		got := map[string]string{
			"Action": rc.Action, "Status": rc.Status,
			"Final-Recipient": rc.FinalRecipient.Type + "|" + rc.FinalRecipient.Addr(),
			"Diagnostic-Code": rc.Diagnostic.Type + "|" + rc.Diagnostic.Text,
		}
		assert.Equal(t, tt.want, got[tt.field], "%s: %s", tt.field, tt.value)
	}
}

// TestResultComments has comments never turn a delivery into a bounce, and a
// missing action go by the status.
func TestResultComments(t *testing.T) {
	const head = "From: MAILER-DAEMON@x.org\nTo: me@x.org\nSubject: Report\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n" +
		"--b\n\nsee below\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x.org\n\nFinal-Recipient: rfc822; a@b.c\n"
	for _, tt := range []struct {
		fields string
		want   Kind
		status string
	}{
		{"Action: (ok) delivered\nStatus: 2.0.0\n", KindDelivered, "2.0.0"},
		{"Action: (soft) delayed\nStatus: 4.4.1\n", KindDelay, "4.4.1"},
		{"Action: (hard) failed\nStatus: (not 4.2.2) 5.1.1\n", KindBounce, "5.1.1"},
		{"Action: (expired) failed\nStatus: 4.4.7\n", KindBounce, "4.4.7"},
		{"Status: 2.1.5\n", KindDelivered, "2.1.5"},
		{"Action: ()\nStatus: 2.0.0 (queued)\n", KindDelivered, "2.0.0"},
		{"Status: 4.4.1\n", KindDelay, "4.4.1"},
		{"Status: 5.1.1\n", KindBounce, "5.1.1"},
		{"Status: 2.0.0\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n", KindBounce, "5.1.1"},
		{"Diagnostic-Code: smtp; 550 no such user\n", KindBounce, "5.1.1"},
	} {
		r, err := Detect(strings.NewReader(head + tt.fields + "--b--\n"))
		require.NoError(t, err)
		assert.Equal(t, tt.want, r.Kind, tt.fields)
		require.Len(t, r.Outcomes, 1, tt.fields)
		assert.Equal(t, tt.status, r.Outcomes[0].Status.String(), tt.fields)
	}
}
