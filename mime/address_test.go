package mime

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var addressCases = []struct {
	name, in string
	want     []Address
	bad      bool
}{
	{"bare", "a@x.org", []Address{{Addr: "a@x.org"}}, false},
	{"named", "Ann Bee <a@x.org>", []Address{{Name: "Ann Bee", Addr: "a@x.org"}}, false},
	{"quoted", `"Bee, Ann" <a@x.org>, b@x.org`, []Address{{Name: "Bee, Ann", Addr: "a@x.org"}, {Addr: "b@x.org"}}, false},
	{"comment name", "a@x.org (Ann Bee)", []Address{{Name: "Ann Bee", Addr: "a@x.org"}}, false},
	{"nested comment", "a@x.org (Ann (the (one)) \\) Bee)", []Address{{Name: "Ann (the (one)) ) Bee", Addr: "a@x.org"}}, false},
	{"encoded name", "=?utf-8?q?J=C3=B6rg?= <a@x.org>", []Address{{Name: "Jörg", Addr: "a@x.org"}}, false},
	{"encoded in quotes", `"=?utf-8?q?J=C3=B6rg?=" <a@x.org>`, []Address{{Name: "Jörg", Addr: "a@x.org"}}, false},
	{"group", "Team: a@x.org, Bee <b@x.org>;, c@x.org", []Address{{Addr: "a@x.org", Group: "Team"}, {Name: "Bee", Addr: "b@x.org", Group: "Team"}, {Addr: "c@x.org"}}, false},
	{"empty group", "undisclosed-recipients:;", nil, false},
	{"quoted local", `"a b"@x.org`, []Address{{Addr: `"a b"@x.org`}}, false},
	{"needless quotes", `"ab"@x.org`, []Address{{Addr: "ab@x.org"}}, false},
	{"route", "<@r.org,@s.org:a@x.org>", []Address{{Addr: "a@x.org"}}, false},
	{"route over literals", "<@[IPv6:2001:db8::1],@s.org:a@x.org>", []Address{{Addr: "a@x.org"}}, false},
	{"no route", "Bee <@[IPv6:2001:db8::1]>", []Address{{Name: "Bee", Addr: "@[IPv6:2001:db8::1]"}}, false},
	{"obsolete blanks", "a . b @ x . org", []Address{{Addr: "a.b@x.org"}}, false},
	{"literal", "a@[192.0.2.1]", []Address{{Addr: "a@[192.0.2.1]"}}, false},
	{"literal of nothing but a quote", "a@[\"]", []Address{{Addr: "a@"}}, false},
	{"ipv6 literal", "Bee <a@[IPv6:2001:db8::1]>", []Address{{Name: "Bee", Addr: "a@[IPv6:2001:db8::1]"}}, false},
	{"bare ipv6 literal", "a@[IPv6:2001:db8::1]", []Address{{Addr: "a@[IPv6:2001:db8::1]"}}, false},
	{"semicolons", "a@x.org; b@x.org;", []Address{{Addr: "a@x.org"}, {Addr: "b@x.org"}}, true},
	{"empty places", ",a@x.org,,b@x.org,", []Address{{Addr: "a@x.org"}, {Addr: "b@x.org"}}, false},
	{"dotted name", "J. R. Bee <a@x.org>", []Address{{Name: "J. R. Bee", Addr: "a@x.org"}}, false},
	{"name is an address", "a@x.org <b@x.org>", []Address{{Name: "a@x.org", Addr: "b@x.org"}}, false},
	{"no comma", "<a@x.org> <b@x.org>", []Address{{Addr: "a@x.org"}, {Addr: "b@x.org"}}, true},
	{"no closing bracket", "Bee <a@x.org", []Address{{Name: "Bee", Addr: "a@x.org"}}, true},
	{"no closing quote", `"Bee <a@x.org>`, []Address{{Name: "Bee", Addr: "a@x.org"}}, true},
	{"no closing comment", "a@x.org (Bee", []Address{{Name: "Bee", Addr: "a@x.org"}}, true},
	{"local only", "root", []Address{{Addr: "root"}}, true},
	{"words only", "not an address", nil, true},
	{"null path", "<>", []Address{{}}, false},
	{"utf-8", "Jörg <jörg@exämple.org>", []Address{{Name: "Jörg", Addr: "jörg@exämple.org"}}, false},
	{"8-bit", "J\xf6rg <a@x.org>", []Address{{Name: "Jörg", Addr: "a@x.org"}}, false},
	{"empty", "", nil, false},
}

func TestParseAddressList(t *testing.T) {
	for _, c := range addressCases {
		got, err := ParseAddressList(c.in)
		assert.Equal(t, c.want, got, c.name)
		assert.Equal(t, c.bad, err != nil, "%s: %v", c.name, err)
		if err != nil {
			require.ErrorIs(t, err, ErrAddress)
		}
	}
}

// TestA15AddressRoundTrip: the address that is shown is the address that mail
// goes to, whoever parses.
func TestA15AddressRoundTrip(t *testing.T) {
	for in, want := range map[string]string{
		`"a@e.com x"@evil.org`:              `"a@e.com x"@evil.org`,
		`"a\"@e.com"@evil.org`:              `"a\"@e.com"@evil.org`,
		`<a@e.com>@evil.org`:                "a@e.com",
		`"<a@e.com>" <v@evil.org>`:          "v@evil.org",
		`a@e.com,b@evil.org`:                "a@e.com",
		`=?utf-8?q?a=40e.com=3E?=@evil.org`: "=?utf-8?q?a=40e.com=3E?=@evil.org",
		`a(@e.com)@evil.org`:                "a@evil.org",
		`a@e.com@evil.org`:                  `"a@e.com"@evil.org`,
	} {
		list, _ := ParseAddressList(in)
		require.NotEmpty(t, list, in)
		assert.Equal(t, want, list[0].Addr, in)
		again, err := ParseAddressList(list[0].String())
		require.NoError(t, err, in)
		require.Len(t, again, 1)
		assert.Equal(t, list[0].Addr, again[0].Addr, in)
		assert.Equal(t, list[0].Name, again[0].Name, in)
	}
}

// TestA46Spoofing: encoded words can't change the address or hide characters.
func TestA46Spoofing(t *testing.T) {
	p, _, err := parseString("From: =?utf-8?b?" + "cG90dXNAd2hpdGVob3VzZS5nb3Y=" + "?= =?utf-8?q?=00?= <=?utf-8?q?a=40e.com=00?=@evil.org>\nFrom: b@x\n\nhi")
	require.NoError(t, err)
	from := p.Header.Addresses("From")
	assert.Equal(t, "=?utf-8?q?a=40e.com=00?=@evil.org", from[0].Addr, "an addr-spec is never decoded")
	assert.Equal(t, "potus@whitehouse.gov", from[0].Name)
	assert.Contains(t, codes(p), DefectMultipleFrom)
	p, _, err = parseString("From: <a@x>:<b@y>\n\nhi")
	require.NoError(t, err)
	assert.Equal(t, []Address{{Addr: "a@x"}, {Addr: "b@y"}}, p.Header.Addresses("From"))
	p, _, err = parseString("From: a@x, b@y\n\nhi")
	require.NoError(t, err)
	assert.Contains(t, codes(p), DefectMultipleFrom)
	p, _, err = parseString("From: a@x, b@y\nSender: a@x\n\nhi")
	require.NoError(t, err)
	assert.NotContains(t, codes(p), DefectMultipleFrom, "several authors with a sender are right")
}

func TestAddressString(t *testing.T) {
	for want, a := range map[string]Address{
		"a@x.org":                        {Addr: "a@x.org"},
		"Ann Bee <a@x.org>":              {Name: "Ann Bee", Addr: "a@x.org"},
		`"Bee, \"Ann\"" <a@x.org>`:       {Name: `Bee, "Ann"`, Addr: "a@x.org"},
		"=?utf-8?b?SsO2cmc=?= <a@x.org>": {Name: "Jörg", Addr: "a@x.org"},
		"<>":                             {},
		"=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@x.org>": {Name: "=?utf-8?q?x?=", Addr: "a@x.org"},
		"A Bcc: v <a@x.orgBcc:v@x>":                  {Name: "A\r\nBcc: v", Addr: "a@x.org>\r\nBcc: <v@x"},
	} {
		if strings.Contains(a.Name, "\n") {
			assert.NotContains(t, a.String(), "\n")
			continue
		}
		assert.Equal(t, want, a.String())
	}
}

func FuzzAddressList(f *testing.F) {
	for _, c := range addressCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := ParseAddressList(s)
		for _, a := range list {
			require.NotContains(t, a.Addr, "\n")
			require.NotContains(t, a.Name, "\n")
			if !strings.Contains(a.Addr, "@") {
				continue
			}
			again, _ := ParseAddressList(a.String())
			require.Len(t, again, 1, "%q", a)
			require.Equal(t, a.Addr, again[0].Addr, "%q", a)
		}
	})
}
