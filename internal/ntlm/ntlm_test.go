package ntlm

import (
	"crypto/rc4"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}

// RFC 1320, appendix A.5.
func TestMD4(t *testing.T) {
	for in, want := range map[string]string{
		"":               "31d6cfe0d16ae931b73c59d7e0c089c0",
		"a":              "bde52cb31de33e46245e05fbdbd6fb24",
		"abc":            "a448017aaf21d8525fc10ae87aa6729d",
		"message digest": "d9130a8164549fe818874806e1c7014b",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": "043f8582f241db351ce627e153e7f0e4",
		strings.Repeat("1234567890", 8):                                  "e33b4ddc9c38f2199c3e7b164fcc0536",
	} {
		sum := md4([]byte(in))
		assert.Equal(t, want, hex.EncodeToString(sum[:]), in)
	}
}

// The values of MS-NLMP section 4.2: user "User", password "Password", domain
// "Domain", server "Server", workstation "COMPUTER", time 0.
const (
	vectorInfo      = "02000c0044006f006d00610069006e00 01000c005300650072007600650072000000 0000"
	vectorChallenge = "4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000" +
		"2400240044000000 06007017 0000000f 530065007200760065007200" + vectorInfo
)

func vectorClient() *Client {
	return &Client{
		User: "User", Domain: "Domain", Password: "Password", Workstation: "COMPUTER",
		test: &fixed{
			challenge: [8]byte(slices.Repeat([]byte{0xaa}, 8)), key: [16]byte(slices.Repeat([]byte{0x55}, 16)),
			now: time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC),
		},
	}
}

// TestVectors checks every value of MS-NLMP section 4.2.4 that NTLMv2 without LM
// has.
func TestVectors(t *testing.T) {
	// 4.2.4.1.1
	assert.Equal(t, unhex(t, "0c868a403bfd7a93a3001ef22ef02e3f"), hashV2("User", "Domain", "Password"))
	// 4.2.4.1.3, 4.2.4.2.2
	response, base := respond(hashV2("User", "Domain", "Password"), [8]byte(unhex(t, "0123456789abcdef")),
		[8]byte(slices.Repeat([]byte{0xaa}, 8)), 0, unhex(t, vectorInfo))
	assert.Equal(t, unhex(t, "68cd0ab851e51c96aabc927bebef6a1c"), response[:16])
	assert.Equal(t, unhex(t, "01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000"+vectorInfo+"00000000"), response[16:])
	// 4.2.4.1.2
	assert.Equal(t, unhex(t, "8de40ccadbc14a82f15cb0ad0de95ca3"), base[:])

	// 4.2.4.3. Our message differs in the LM response, which is zero, in the
	// version, and in the flags, of which we ask for fewer.
	c := vectorClient()
	c.Negotiate()
	m, err := c.Authenticate(unhex(t, vectorChallenge))
	require.NoError(t, err)
	assert.Equal(t, unhex(t, "4e544c4d53535000 03000000 18001800 6c000000 54005400 84000000 0c000c00 48000000"+
		"08000800 54000000 10001000 5c000000 10001000 d8000000"), m[:60])
	assert.Equal(t, uint32(0xe28a8233)&wanted, binary.LittleEndian.Uint32(m[60:]))
	assert.Equal(t, unhex(t, "44006f006d00610069006e00 55007300650072 00 43004f004d0050005500540045005200"), m[72:0x6c])
	assert.Equal(t, make([]byte, 24), m[0x6c:0x84])
	assert.Equal(t, response, m[0x84:0xd8])
	// 4.2.4.2.3
	assert.Equal(t, unhex(t, "c5dad2544fc9799094ce1ce90bc9d03e"), m[0xd8:])
}

// challengeOf builds a challenge.
func challengeOf(flags uint32, info []byte) []byte {
	b := append([]byte(signature), 2, 0, 0, 0)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, "NONCEnon"...)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(info)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(info)))
	b = binary.LittleEndian.AppendUint32(b, 56)
	b = append(b, make([]byte, 8)...)
	return append(b, info...)
}

func field(m []byte, i int) []byte {
	n, off := binary.LittleEndian.Uint16(m[12+8*i:]), binary.LittleEndian.Uint32(m[16+8*i:])
	return m[off : int(off)+int(n)]
}

// TestBinding checks what hardened servers demand (A22): integrity code, channel
// binding and service name.
func TestBinding(t *testing.T) {
	stamp := binary.LittleEndian.AppendUint64(nil, fileTime(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)))
	server := pairs{
		{2, utf16le("DOMAIN")},
		{avFlags, []byte{1, 0, 0, 0}},
		{avTimestamp, stamp},
		{avTargetName, utf16le("evil/host")},
		{avChannelBinding, make([]byte, 16)},
	}
	ch := challengeOf(wanted, server.encode())
	c := &Client{User: `Corp\Ann`, Password: "pässword", SPN: "imap/mail.example.com", ChannelBinding: []byte("tls-server-end-point:0123")}
	n := c.Negotiate()
	require.Len(t, n, 40)
	m, err := c.Authenticate(ch)
	require.NoError(t, err)

	assert.Equal(t, utf16le("Corp"), field(m, 2))
	assert.Equal(t, utf16le("Ann"), field(m, 3))
	assert.Empty(t, field(m, 4))
	nt := field(m, 1)
	key := hashV2("ANN", "Corp", "pässword")
	assert.Equal(t, hmacMD5(key, []byte("NONCEnon"), nt[16:]), nt[:16], "the proof")
	got, err := parsePairs(nt[16+28:])
	require.NoError(t, err)
	sum := bindingHash(c.ChannelBinding)
	assert.Equal(t, pairs{
		{2, utf16le("DOMAIN")},
		{avTimestamp, stamp},
		{avFlags, []byte{3, 0, 0, 0}},
		{avChannelBinding, sum[:]},
		{avTargetName, utf16le("imap/mail.example.com")},
	}, got)
	assert.Equal(t, stamp, nt[24:32])

	stream, err := rc4.NewCipher(hmacMD5(key, nt[:16]))
	require.NoError(t, err)
	exported := make([]byte, 16)
	stream.XORKeyStream(exported, field(m, 5))
	mic := slices.Clone(m[micOffset : micOffset+micLength])
	clear(m[micOffset : micOffset+micLength])
	assert.Equal(t, hmacMD5(exported, n, ch, m), mic)
}

// TestNoKeyExchange has the session base key sign, as for servers that exchange
// none.
func TestNoKeyExchange(t *testing.T) {
	info := pairs{{avTimestamp, []byte{1, 2, 3, 4, 5, 6, 7, 8}}}.encode()
	ch := challengeOf(flagUnicode|flagTargetInfo|flagNTLM, info)
	c := &Client{User: "ann@example.com", Password: "x"}
	n := c.Negotiate()
	m, err := c.Authenticate(ch)
	require.NoError(t, err)
	assert.Empty(t, field(m, 5))
	assert.Empty(t, field(m, 2), "a user@domain has no domain of its own")
	mic := slices.Clone(m[micOffset : micOffset+micLength])
	clear(m[micOffset : micOffset+micLength])
	assert.Equal(t, hmacMD5(hmacMD5(hashV2("ann@example.com", "", "x"), field(m, 1)[:16]), n, ch, m), mic)
}

// TestBindingHash has the value of Microsoft's example for channel binding
// tokens: the SHA-256 of a certificate, and the hash of the structure around it.
func TestBindingHash(t *testing.T) {
	data := append([]byte("tls-server-end-point:"), unhex(t, "ea05fefecc6b0bd571dbbc5baa3ed45386d0446835f7b74c85621b9983475f95")...)
	sum := bindingHash(data)
	assert.Equal(t, "6586e99d81c2fc984e47172fd4dd0310", hex.EncodeToString(sum[:]))
}

type hostile struct {
	name string
	raw  []byte
	want error
}

// hostiles are challenges of servers that mean no good (A21).
func hostiles() []hostile {
	good := challengeOf(wanted, pairs{{avTimestamp, make([]byte, 8)}}.encode())
	at := func(offset int, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[offset:], b)
		return c
	}
	return []hostile{
		{"empty", nil, ErrChallenge},
		{"short", good[:31], ErrChallenge},
		{"without target information", good[:40], ErrNotV2},
		{"other signature", at(0, 'X'), ErrChallenge},
		{"other type", at(8, 3), ErrChallenge},
		{"without Unicode", at(20, 0), ErrNotV2},
		{"NTLMv1 flags", challengeOf(flagUnicode|flagNTLM, nil), ErrNotV2},
		{"empty target information", challengeOf(wanted, nil), ErrNotV2},
		{"offset behind the end", at(44, 0xff, 0xff, 0xff, 0xff), ErrChallenge},
		{"offset into the header", at(44, 0, 0, 0, 0), ErrChallenge},
		{"length behind the end", at(40, 0xff, 0xff), ErrChallenge},
		{"offset and length wrap", at(40, 0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff, 0xff, 0xff), ErrChallenge},
		{"pair behind the end", challengeOf(wanted, []byte{2, 0, 255, 255, 'x'}), ErrChallenge},
		{"no end", challengeOf(wanted, []byte{2, 0, 0, 0}), ErrChallenge},
		{"huge", append(slices.Clone(good), make([]byte, maxChallenge)...), ErrChallenge},
	}
}

func TestHostile(t *testing.T) {
	for _, tt := range hostiles() {
		t.Run(tt.name, func(t *testing.T) {
			c := &Client{User: "u", Password: "very-secret"}
			c.Negotiate()
			m, err := c.Authenticate(tt.raw)
			require.ErrorIs(t, err, tt.want)
			assert.Nil(t, m)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestOrder(t *testing.T) {
	c := vectorClient()
	_, err := c.Authenticate(unhex(t, vectorChallenge))
	require.ErrorIs(t, err, ErrOrder)
	c.Negotiate()
	_, err = c.Authenticate(unhex(t, vectorChallenge))
	require.NoError(t, err)
	_, err = c.Authenticate(unhex(t, vectorChallenge))
	require.ErrorIs(t, err, ErrOrder, "one answer to one negotiation")
}

func TestFieldTooLong(t *testing.T) {
	c := vectorClient()
	c.Workstation = strings.Repeat("x", maxPayload)
	c.Negotiate()
	_, err := c.Authenticate(unhex(t, vectorChallenge))
	require.ErrorContains(t, err, "65535")
}

// FuzzChallenge wants no panic, no answer in another version, and no memory
// beyond what the server sent.
func FuzzChallenge(f *testing.F) {
	f.Add(unhex(f, vectorChallenge))
	for _, h := range hostiles() {
		f.Add(h.raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := vectorClient()
		c.Negotiate()
		m, err := c.Authenticate(raw)
		if err != nil {
			return
		}
		assert.Equal(t, make([]byte, 24), field(m, 0))
		assert.GreaterOrEqual(t, len(field(m, 1)), 16+28+4)
		assert.LessOrEqual(t, len(m), len(raw)+1024)
	})
}
