package ntlm

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // NTLMv2 is HMAC with MD5
	"encoding/binary"
	"math/bits"
	"strings"
	"time"
	"unicode/utf16"
)

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func hmacMD5(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// hashV2 is NTOWFv2 (MS-NLMP section 3.3.2).
func hashV2(user, domain, password string) []byte {
	key := NTHash(password)
	return hmacMD5(key[:], utf16le(strings.ToUpper(user)), utf16le(domain))
}

// respond makes the NTLMv2 response and the session base key (MS-NLMP section
// 3.3.2).
func respond(key []byte, server, client [8]byte, timestamp uint64, info []byte) (response []byte, base [16]byte) {
	temp := []byte{1, 1, 0, 0, 0, 0, 0, 0}
	temp = binary.LittleEndian.AppendUint64(temp, timestamp)
	temp = append(temp, client[:]...)
	temp = append(temp, 0, 0, 0, 0)
	temp = append(temp, info...)
	temp = append(temp, 0, 0, 0, 0)
	proof := hmacMD5(key, server[:], temp)
	copy(base[:], hmacMD5(key, proof))
	return append(proof, temp...), base
}

// fileTime counts 100 ns from 1601 on.
func fileTime(t time.Time) uint64 {
	const from1601To1970 = 11644473600
	return uint64(t.Unix()+from1601To1970)*1e7 + uint64(t.Nanosecond())/100
}

// md4 is the hash of RFC 1320, which nothing but NTLM has use for.
func md4(data []byte) [16]byte {
	padded := append(append([]byte(nil), data...), 0x80)
	for len(padded)%64 != 56 {
		padded = append(padded, 0)
	}
	padded = binary.LittleEndian.AppendUint64(padded, uint64(len(data))*8)

	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	for ; len(padded) > 0; padded = padded[64:] {
		var x [16]uint32
		for i := range x {
			x[i] = binary.LittleEndian.Uint32(padded[4*i:])
		}
		s := state
		for step := range 48 {
			round := &md4Rounds[step/16]
			i := step % 16
			// The four words take turns as the one that changes.
			a, b, c, d := &s[(48-step)%4], s[(49-step)%4], s[(50-step)%4], s[(51-step)%4]
			*a = bits.RotateLeft32(*a+round.mix(b, c, d)+x[round.order[i]]+round.add, round.shift[i%4])
		}
		for i := range state {
			state[i] += s[i]
		}
	}
	var sum [16]byte
	for i, w := range state {
		binary.LittleEndian.PutUint32(sum[4*i:], w)
	}
	return sum
}

// md4Rounds are the three rounds of RFC 1320 section 3.4.
var md4Rounds = [3]struct {
	mix   func(x, y, z uint32) uint32
	add   uint32
	order [16]int
	shift [4]int
}{
	{
		func(x, y, z uint32) uint32 { return x&y | ^x&z },
		0,
		[16]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		[4]int{3, 7, 11, 19},
	},
	{
		func(x, y, z uint32) uint32 { return x&y | x&z | y&z },
		0x5a827999,
		[16]int{0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
		[4]int{3, 5, 9, 13},
	},
	{
		func(x, y, z uint32) uint32 { return x ^ y ^ z },
		0x6ed9eba1,
		[16]int{0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15},
		[4]int{3, 9, 11, 15},
	},
}

// NTHash is the hash of a password that servers store (NTOWFv1): as good as the
// password. It is exported for the fakes.
func NTHash(password string) [16]byte { return md4(utf16le(password)) }
