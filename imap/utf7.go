package imap

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Modified UTF-7, the writing of folder names before UTF8=ACCEPT (RFC 3501
// section 5.1.3).

var utf7Base64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// encodeUTF7 writes a name. It must be valid UTF-8.
func encodeUTF7(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		c := name[i]
		if c >= ' ' && c < 0x7f {
			if b.WriteByte(c); c == '&' {
				b.WriteByte('-')
			}
			i++
			continue
		}
		j := i
		for j < len(name) && (name[j] < ' ' || name[j] >= 0x7f) {
			j++
		}
		var raw []byte
		for _, u := range utf16.Encode([]rune(name[i:j])) {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteString("&" + utf7Base64.EncodeToString(raw) + "-")
		i = j
	}
	return b.String()
}

var errUTF7 = errors.New("not modified UTF-7")

// decodeUTF7 reads a name. Only the one writing that encodeUTF7 gives is
// taken: two writings of a name would be two names of a folder.
func decodeUTF7(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c >= 0x7f {
			return "", errUTF7
		}
		if c != '&' {
			b.WriteByte(c)
			continue
		}
		end := strings.IndexByte(s[i:], '-')
		if end < 0 {
			return "", errUTF7
		}
		code := s[i+1 : i+end]
		i += end
		if code == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := utf7Base64.DecodeString(code)
		if err != nil || len(raw)%2 != 0 {
			return "", errUTF7
		}
		var units []uint16
		for k := 0; k < len(raw); k += 2 {
			units = append(units, uint16(raw[k])<<8|uint16(raw[k+1]))
		}
		for _, r := range utf16.Decode(units) {
			if r == utf8.RuneError || r >= ' ' && r < 0x7f {
				return "", errUTF7
			}
			b.WriteRune(r)
		}
	}
	name := b.String()
	if encodeUTF7(name) != s {
		return "", errUTF7
	}
	return name, nil
}
