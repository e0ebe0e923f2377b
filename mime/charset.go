package mime

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// charsetAliases are names that real mail has and neither registry knows, or
// knows with another meaning than mail gives it. Names are compared in lower
// case with "_" and blanks as "-".
var charsetAliases = map[string]encoding.Encoding{
	"cp932": japanese.ShiftJIS, "ms932": japanese.ShiftJIS, "windows-932": japanese.ShiftJIS,
	"cp936": simplifiedchinese.GB18030, "ms936": simplifiedchinese.GB18030, "windows-936": simplifiedchinese.GB18030,
	"x-gbk": simplifiedchinese.GB18030, "gb2312": simplifiedchinese.GB18030, "gbk": simplifiedchinese.GB18030,
	"gb-2312": simplifiedchinese.GB18030, "gb-18030": simplifiedchinese.GB18030, "euc-cn": simplifiedchinese.GB18030,
	"gb2312-80": simplifiedchinese.GB18030, "cn-gb": simplifiedchinese.GB18030, "chinesesimplified": simplifiedchinese.GB18030,
	"chinese": simplifiedchinese.GB18030, "csgb2312": simplifiedchinese.GB18030, "csiso58gb231280": simplifiedchinese.GB18030, "iso-ir-58": simplifiedchinese.GB18030,
	"hz-gb-2312": simplifiedchinese.HZGB2312, "hz": simplifiedchinese.HZGB2312,
	"cp949": korean.EUCKR, "ms949": korean.EUCKR, "uhc": korean.EUCKR, "x-windows-949": korean.EUCKR,
	"ks-c-5601": korean.EUCKR, "ks-c-5601-1987": korean.EUCKR, "ks-c-5601-1989": korean.EUCKR, "ksc5601": korean.EUCKR, "ksc-5601": korean.EUCKR, "ks-c-5601-1992": korean.EUCKR, "5601": korean.EUCKR,
	"cp950": traditionalchinese.Big5, "ms950": traditionalchinese.Big5, "windows-950": traditionalchinese.Big5,
	"big-5": traditionalchinese.Big5, "big5-tw": traditionalchinese.Big5, "chinesebig5": traditionalchinese.Big5,
	"sjis": japanese.ShiftJIS, "shift-jisx0213": japanese.ShiftJIS, "shift-jis-2004": japanese.ShiftJIS,
	"iso-2022-jp-ms": japanese.ISO2022JP, "iso-2022-jp-1": japanese.ISO2022JP, "iso-2022-jp-2": japanese.ISO2022JP,
	"iso-2022-jp-2004": japanese.ISO2022JP, "cp50220": japanese.ISO2022JP, "cp50221": japanese.ISO2022JP,
	"iso-2022-kr": iso2022{korean: true}, "csiso2022kr": iso2022{korean: true}, "iso-2022-cn": iso2022{}, "iso-2022-cn-ext": iso2022{},
	"eucjp": japanese.EUCJP, "ujis": japanese.EUCJP, "eucjp-ms": japanese.EUCJP, "cp51932": japanese.EUCJP,
	"iso-8859-1-windows-3.0-latin-1": charmap.Windows1252, "latin-1": charmap.Windows1252,
	"iso8859-1": charmap.Windows1252, "iso-latin-1": charmap.Windows1252, "8859-1": charmap.Windows1252,
	"iso-8859-8-e": charmap.ISO8859_8, "iso8859-15": charmap.ISO8859_15, "latin-9": charmap.ISO8859_15, "latin9": charmap.ISO8859_15,
	"shiftjis": japanese.ShiftJIS, "cswindows31j": japanese.ShiftJIS, "jis": japanese.ISO2022JP, "jis7": japanese.ISO2022JP, "iso2022jp": japanese.ISO2022JP,
	"iso646-jp": japanese.ISO2022JP, "iso-2022-jp-3": japanese.ISO2022JP, "big5hkscs": traditionalchinese.Big5, "gb-2312-80": simplifiedchinese.GB18030,
	"x-euc-cn": simplifiedchinese.GB18030, "eucgb2312-cn": simplifiedchinese.GB18030, "gb18030-2000": simplifiedchinese.GB18030, "thai": charmap.Windows874, "tis620": charmap.Windows874,
	"turkish": charmap.Windows1254, "x-macroman": charmap.Macintosh, "mac-cyrillic": charmap.MacintoshCyrillic,
	"ucs-4": utf32.UTF32(utf32.BigEndian, utf32.UseBOM), "iso-10646-ucs-4": utf32.UTF32(utf32.BigEndian, utf32.UseBOM),
	"macroman": charmap.Macintosh, "x-mac-roman": charmap.Macintosh, "mac": charmap.Macintosh,
	"cp-850": charmap.CodePage850, "cp-437": charmap.CodePage437, "cp1252": charmap.Windows1252, "cp-1252": charmap.Windows1252,
	"ansi": charmap.Windows1252, "win1251": charmap.Windows1251, "cp-1251": charmap.Windows1251, "koi8r": charmap.KOI8R, "koi8u": charmap.KOI8U,
	"utf-16": unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "utf16": unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"utf-16be": unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), "utf-16le": unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	"ucs-2": unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "iso-10646-ucs-2": unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"utf-32": utf32.UTF32(utf32.BigEndian, utf32.UseBOM), "utf32": utf32.UTF32(utf32.BigEndian, utf32.UseBOM),
	"utf-32be": utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), "utf-32le": utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM),
	"utf-7": utf7{}, "utf7": utf7{}, "unicode-1-1-utf-7": utf7{}, "unicode-2-0-utf-7": utf7{}, "csunicode11utf7": utf7{},
	"csutf7": utf7{}, "unicode-1.1-utf-7": utf7{}, "unicode-2.0-utf-7": utf7{}, "x-unicode-2-0-utf-7": utf7{},
}

// utf8Names are the names of UTF-8; x/text would put a byte order mark into the
// text.
var utf8Names = map[string]bool{
	"utf-8": true, "utf8": true, "unicode-1-1-utf-8": true, "unicode-2-0-utf-8": true, "x-unicode-2-0-utf-8": true,
	"utf-8mb4": true, "utf8mb4": true, "csutf8": true, "cp65001": true, "windows-65001": true,
	"utf-8-sig": true, "utf8n": true, "x-utf-8": true, "cesu-8": true, "utf-8n": true,
}

// guessNames declare ASCII or nothing. Where bytes above 127 come all the same
// they are taken as UTF-8 if they are that, else as windows-1252.
var guessNames = map[string]bool{
	"": true, "us-ascii": true, "ascii": true, "ansi-x3.4-1968": true, "iso-ir-6": true, "iso646-us": true, "us": true, "cp367": true,
	"7bit": true, "8bit": true, "binary": true, "unknown": true, "x-unknown": true, "unknown-8bit": true,
	"x-user-defined": true, "user-defined": true, "default": true, "none": true, "x-us-ascii": true, "646": true, "charset": true,
}

// maxCharsetNameLen keeps silly names away from the tables.
const maxCharsetNameLen = 64

func normCharset(name string) string {
	name = strings.Trim(name, " \t\r\n'\"<>;")
	if len(name) > maxCharsetNameLen {
		return "?"
	}
	name = strings.ToLower(name)
	name = strings.ReplaceAll(strings.ReplaceAll(name, "_", "-"), " ", "-")
	return strings.TrimPrefix(name, "charset=")
}

// findCharset looks a charset up. A nil encoding with known true stands for
// UTF-8 and ASCII, which need no conversion; guess says that the declaration
// says nothing about bytes above 127.
func findCharset(name string) (enc encoding.Encoding, guess, known bool) {
	n := normCharset(name)
	switch {
	case utf8Names[n]:
		return nil, false, true
	case guessNames[n]:
		return nil, true, true
	}
	if e := charsetAliases[n]; e != nil {
		return e, false, true
	}
	under := strings.ReplaceAll(n, "-", "_") // some registered names have it
	for _, try := range [...]string{n, strings.TrimPrefix(n, "x-"), under} {
		if e, err := htmlindex.Get(try); err == nil && e != encoding.Replacement {
			return e, false, true
		}
		if e, err := ianaindex.MIME.Encoding(try); err == nil && e != nil {
			return e, false, true
		}
		if e, err := ianaindex.IANA.Encoding(try); err == nil && e != nil {
			return e, false, true
		}
	}
	if loose := looseCharset(n); loose != "" && loose != n {
		return findCharset(loose)
	}
	return nil, true, false
}

// decodeCharset turns raw bytes of the named charset into UTF-8; undecodable
// bytes become U+FFFD.
func decodeCharset(raw []byte, charset string) string {
	enc, guess, _ := findCharset(charset)
	if enc == nil {
		if utf8.Valid(raw) {
			return string(raw)
		}
		if !guess {
			return string(bytes.ToValidUTF8(raw, []byte("\uFFFD")))
		}
		enc = charmap.Windows1252
	}
	out, err := enc.NewDecoder().Bytes(raw)
	if err != nil {
		return string(bytes.ToValidUTF8(raw, []byte("\uFFFD")))
	}
	if !utf8.Valid(out) {
		out = bytes.ToValidUTF8(out, []byte("\uFFFD"))
	}
	return string(out)
}
