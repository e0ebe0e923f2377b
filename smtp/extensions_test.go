package smtp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// TestExtensions asks for each extension of a server that offers it and of one
// that does not.
func TestExtensions(t *testing.T) {
	tests := []struct {
		name   string
		offer  string
		set    func(m *driver.Message)
		params []string // of MAIL
		to     string   // as the server hears it
		lacks  string   // the extension that the error names, "" if it goes without
		rest   string   // what the server without it hears, if it goes
	}{
		{name: "REQUIRETLS", offer: "REQUIRETLS", set: func(m *driver.Message) { m.RequireTLS = true }, params: []string{"REQUIRETLS"}, lacks: "REQUIRETLS"},
		{name: "DELIVERBY", offer: "DELIVERBY", set: func(m *driver.Message) { m.DeliverBy = &driver.DeliverBy{Within: 90 * time.Second} }, params: []string{"BY=90;N"}, lacks: "DELIVERBY"},
		{name: "DELIVERBY, return and trace", offer: "DELIVERBY 60", set: func(m *driver.Message) {
			m.DeliverBy = &driver.DeliverBy{Within: 90 * time.Second, Return: true, Trace: true}
		}, params: []string{"BY=90;RT"}, lacks: "DELIVERBY"},
		{name: "MT-PRIORITY", offer: "MT-PRIORITY MIXER", set: func(m *driver.Message) { m.Priority = -3 }, params: []string{"MT-PRIORITY=-3"}, lacks: "MT-PRIORITY"},
		{name: "SMTPUTF8, recipient", offer: "SMTPUTF8", set: func(m *driver.Message) { m.To[0].Address = "δοκιμή@example.com" }, params: []string{"SMTPUTF8"}, to: "δοκιμή@example.com", lacks: "SMTPUTF8"},
		{name: "SMTPUTF8, sender", offer: "SMTPUTF8", set: func(m *driver.Message) { m.From = "ü@exämple.com" }, params: []string{"SMTPUTF8"}, lacks: "SMTPUTF8"},
		{name: "a domain has an ASCII form", offer: "SMTPUTF8", set: func(m *driver.Message) { m.To[0].Address = "a@exämple.com" }, to: "a@xn--exmple-cua.com", rest: "a@xn--exmple-cua.com"},
		{name: "DSN", offer: "DSN", set: func(m *driver.Message) { m.Return, m.EnvelopeID = "HDRS", "e 1" }, params: []string{"RET=HDRS", "ENVID=e+201"}, rest: "b@example.com"},
		{name: "UTF-8 header", offer: "SMTPUTF8", set: func(m *driver.Message) { m.Open = message("Subject: Grüße\r\n\r\n").Open }, params: []string{"BODY=8BITMIME", "SMTPUTF8"}, rest: "b@example.com"},
		{name: "UTF-8 header that the message tells of", offer: "SMTPUTF8", set: func(m *driver.Message) { m.SMTPUTF8 = true }, params: []string{"SMTPUTF8"}, lacks: "SMTPUTF8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := message(plainText)
			tt.set(m)
			srv, d := start(t, []smtptest.Option{offer("8BITMIME", tt.offer), smtptest.WithSTARTTLS()}, explicit())
			_, err := send(t, d, m)
			require.NoError(t, err)
			require.Len(t, srv.Messages(), 1)
			got := srv.Messages()[0]
			assert.ElementsMatch(t, tt.params, got.Params)
			if tt.to != "" {
				assert.Equal(t, tt.to, got.To[0].Address)
			}
			assert.Empty(t, srv.Violations())

			srv, d = start(t, []smtptest.Option{offer("8BITMIME"), smtptest.WithSTARTTLS()}, explicit())
			rec, err := send(t, d, m)
			assert.Empty(t, srv.Violations())
			if tt.lacks == "" {
				require.NoError(t, err)
				assert.Equal(t, tt.rest, srv.Messages()[0].To[0].Address)
				return
			}
			var xe *ExtensionError
			require.ErrorAs(t, err, &xe)
			assert.Equal(t, tt.lacks, xe.Extension)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
			for _, c := range srv.Commands(1) {
				assert.NotRegexp(t, "^MAIL", c)
			}
		})
	}
	m := message(plainText)
	m.RequireTLS = true
	_, d := start(t, []smtptest.Option{offer("REQUIRETLS")})
	_, err := send(t, d, m)
	require.ErrorContains(t, err, "which this connection has not")
	m = message(plainText)
	m.DeliverBy = &driver.DeliverBy{Within: time.Minute, Return: true}
	_, d = start(t, []smtptest.Option{offer("DELIVERBY 120")})
	_, err = send(t, d, m)
	require.ErrorContains(t, err, "less than the 120 seconds")
}

// TestRequireTLSNeedsVerification has REQUIRETLS offered inside TLS whose other
// end is known, or not (RFC 8689 section 4.2.1).
func TestRequireTLSNeedsVerification(t *testing.T) {
	wrong := smtptest.Certificate(time.Now().Add(time.Hour), "wrong.example")
	leaf, err := x509.ParseCertificate(wrong.Certificate[0])
	require.NoError(t, err)
	right := smtptest.Certificate(time.Now().Add(time.Hour), "127.0.0.1")
	for name, tt := range map[string]struct {
		cert tls.Certificate
		opts []driver.Option
		ok   bool
	}{
		"verified":              {right, nil, true},
		"check skipped":         {wrong, []driver.Option{driver.WithInsecureSkipVerify()}, false},
		"pinned, check skipped": {wrong, []driver.Option{driver.WithInsecureSkipVerify(), driver.WithPinnedKeys(driver.PinOf(leaf))}, true},
	} {
		for _, security := range []driver.Security{driver.SecurityImplicit, driver.SecurityExplicit} {
			t.Run(fmt.Sprint(name, " ", security), func(t *testing.T) {
				how := smtptest.WithSTARTTLS()
				if security == driver.SecurityImplicit {
					how = smtptest.WithImplicitTLS()
				}
				srv, d := start(t, []smtptest.Option{offer("REQUIRETLS"), how, smtptest.WithCertificate(tt.cert)}, append(tt.opts, driver.WithSecurity(security))...)
				m := message(plainText)
				m.RequireTLS = true
				rec, err := send(t, d, m)
				if tt.ok {
					require.NoError(t, err)
					require.Len(t, srv.Messages(), 1)
					assert.Contains(t, srv.Messages()[0].Params, "REQUIRETLS")
					return
				}
				require.ErrorIs(t, err, ErrUnverified)
				assert.Equal(t, driver.KindPermanent, driver.KindOf(err))
				assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
				for _, c := range srv.Commands(1) {
					assert.NotRegexp(t, "^MAIL", c)
				}
				m.RequireTLS = false
				_, err = send(t, d, m)
				require.NoError(t, err, "others go")
			})
		}
	}
}

func TestLMTP(t *testing.T) {
	for _, offered := range [][]string{{"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		srv, d := start(t, []smtptest.Option{
			smtptest.WithLMTP(), offer(append(offered, "ENHANCEDSTATUSCODES")...),
			smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Nth: 1, Do: smtptest.Reply("550 5.1.1 no")}),
			smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Nth: 2, Do: smtptest.Reply("452 4.2.2 full")}),
			smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Nth: 3, Do: smtptest.Reply("554 5.2.2 full for good")}),
		}, WithLMTP())
		rec, _ := send(t, d, message(plainText, "a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"))
		assert.Equal(t, driver.DeliveryPartly, rec.Delivery)
		var codes []int
		for _, r := range rec.Recipients {
			codes = append(codes, r.Code)
		}
		assert.Equal(t, []int{550, 250, 452, 554, 250}, codes)
		agree(t, srv, rec, "LMTP")
		assert.Regexp(t, "^LHLO ", srv.Commands(1)[0])
	}
	// Lost between two replies: what was said stands, the rest is unknown.
	srv, d := start(t, []smtptest.Option{smtptest.WithLMTP(), offer("PIPELINING"), smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Nth: 2, Do: smtptest.Drop()})}, WithLMTP())
	rec, _ := send(t, d, message(plainText, "a@x.example", "b@x.example"))
	assert.Equal(t, driver.DeliveryUnknown, rec.Delivery)
	assert.Equal(t, driver.DeliveryAccepted, rec.Recipients[0].Delivery)
	assert.Equal(t, driver.DeliveryUnknown, rec.Recipients[1].Delivery)
	require.Len(t, srv.Messages(), 1)
}

func TestUTF8Orcpt(t *testing.T) {
	x, err := encodeOrcpt("utf-8;δ+a@example.com")
	require.NoError(t, err)
	assert.Equal(t, `utf-8;\x{3B4}\x{2B}a@example.com`, x)
}

func TestParseLimits(t *testing.T) {
	assert.Equal(t, limits{5, 7, 1}, parseLimits("mailmax=5 RCPTMAX=7 RCPTDOMAINMAX=1 X"))
	assert.Zero(t, parseLimits("MAILMAX=-1 RCPTMAX=99999999999999999999 =3 RCPTDOMAINMAX"))
}
