package authtest

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/smtp"
)

type fromParameters func(map[string]string) (string, []driver.Option, error)

var parameterReaders = map[string]fromParameters{"IMAP": imap.FromParameters, "POP3": pop3.FromParameters, "SMTP": smtp.FromParameters}

// TestParameters logs in by the documents' names of the mechanisms, and by
// IANA's, on fakes that offer that mechanism alone.
func TestParameters(t *testing.T) {
	for name, mech := range map[string]string{
		"plain": "PLAIN", "Login": "LOGIN", "CramMD5": "CRAM-MD5", "DigestMD5": "DIGEST-MD5", "NTLM": "NTLM", "OAuth20": "XOAUTH2", "oauth 20": "OAUTHBEARER",
		"ClearText": "CLEARTEXT", "APOP": "APOP", "SCRAM-SHA-256": "SCRAM-SHA-256", "scram_sha_1": "SCRAM-SHA-1", "XOAUTH2": "XOAUTH2", "Auto": "SCRAM-SHA-256", "": "CRAM-MD5",
	} {
		for _, protocol := range []string{"IMAP", "POP3", "SMTP"} {
			if mech == "APOP" && protocol != "POP3" || mech == "CLEARTEXT" && protocol == "SMTP" {
				_, _, err := parameterReaders[protocol](map[string]string{protocol + " Server": "h.example", protocol + " Authentication": name})
				require.ErrorContains(t, err, "is not a mechanism of this driver")
				continue
			}
			t.Run(protocol+"/"+name, func(t *testing.T) {
				offer := mech
				if mech == "CLEARTEXT" && protocol == "POP3" {
					offer = "USER"
				}
				f := newFake(t, protocol, driver.SecurityNone, offer)
				host, port, _ := strings.Cut(f.addr, ":")
				rows := map[string]string{
					protocol + " Server": host, protocol + " Server Port": port, protocol + " Account Name": fakeUser,
					protocol + " Authentication": name, "Allow Insecure Login": "TRUE", "Spool Directory": t.TempDir(),
				}
				if usesToken(mech) {
					rows[protocol+" Access Token"] = "text:" + fakeToken
				} else {
					rows[protocol+" Account Password"] = "text:" + fakePassword
				}
				addr, opts, err := parameterReaders[protocol](rows)
				require.NoError(t, err)
				a := &attempt{protocol: protocol, addr: addr, from: "a@example.com", to: "b@example.com", opts: opts}
				_, err = a.try(t.Context(), t.TempDir())
				require.NoError(t, err)
				assert.Empty(t, f.violations())
			})
		}
	}
}

// TestBadParameters names the row, and never shows its secret.
func TestBadParameters(t *testing.T) {
	for protocol, read := range parameterReaders {
		base := map[string]string{protocol + " Server": "h.example", protocol + " Security": "EXPLICIT", "Spool Directory": t.TempDir()}
		for want, rows := range map[string]map[string]string{
			protocol + ` Authentication": "Kerberos5" is not a mechanism`: {protocol + " Authentication": "Kerberos5"},
			protocol + ` Account Password"`:                               {protocol + " Account Name": "u"},
			protocol + ` Account Name"`:                                   {protocol + " Account Password": "s3cret"},
			protocol + ` Service Principal Name"`:                         {protocol + " Service Principal Name": "nohost"},
			protocol + ` Domain Name"`:                                    {protocol + " Domain Name": "a\x01"},
		} {
			t.Run(protocol+"/"+want, func(t *testing.T) {
				all := maps.Clone(base)
				maps.Copy(all, rows)
				addr, opts, err := read(all)
				if err == nil {
					a := &attempt{protocol: protocol, addr: addr, opts: opts}
					_, err = a.try(t.Context(), t.TempDir())
				}
				require.ErrorContains(t, err, want)
				assert.Equal(t, driver.KindConfig, driver.KindOf(err))
				assert.NotContains(t, err.Error(), "s3cret")
			})
		}
		// Nor does a login go missing because nobody is named who logs in.
		for _, rows := range []map[string]string{
			{protocol + " Authentication": "SCRAM-SHA-256"}, {protocol + " Domain Name": "EXAMPLE"}, {protocol + " Service Principal Name": "x/h.example"},
		} {
			all := maps.Clone(base)
			maps.Copy(all, rows)
			_, _, err := read(all)
			require.ErrorContains(t, err, protocol+` Account Name": a value is required`)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
		}
		// A name alone will do where no password is needed.
		for _, how := range []string{"GSSapi", "EXTERNAL", "OAuth20"} {
			all := maps.Clone(base)
			maps.Copy(all, map[string]string{protocol + " Account Name": "u", protocol + " Authentication": how})
			_, _, err := read(all)
			require.NoError(t, err)
		}
	}
}
