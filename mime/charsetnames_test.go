package mime

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// substitutes are charsets that mail, and browsers, read as another with more
// characters.
var substitutes = map[encoding.Encoding]encoding.Encoding{
	charmap.ISO8859_1:     charmap.Windows1252,
	charmap.ISO8859_9:     charmap.Windows1254,
	simplifiedchinese.GBK: simplifiedchinese.GB18030,
	charmap.ISO8859_6E:    charmap.ISO8859_6,
	charmap.ISO8859_6I:    charmap.ISO8859_6,
	charmap.ISO8859_8E:    charmap.ISO8859_8,
	charmap.ISO8859_8I:    charmap.ISO8859_8,
}

// TestCharsetsOfXText finds every charset that x/text has by each of its names
// in the registries of IANA and of the Encoding Standard, however written.
func TestCharsetsOfXText(t *testing.T) {
	n := 0
	for _, list := range [][]encoding.Encoding{charmap.All, japanese.All, korean.All, simplifiedchinese.All, traditionalchinese.All} {
		for _, e := range list {
			if e == charmap.XUserDefined { // says nothing about the bytes
				continue
			}
			names := map[string]bool{}
			for _, index := range []*ianaindex.Index{ianaindex.IANA, ianaindex.MIME} {
				if name, err := index.Name(e); err == nil && name != "" {
					names[name] = true
				}
			}
			if name, err := htmlindex.Name(e); err == nil {
				names[name] = true
			}
			for name := range names {
				for _, v := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "-", "_"), ` "` + name + `"`, "cs" + name} {
					if strings.HasPrefix(v, "cs") && !strings.Contains(v, "8859") {
						continue
					}
					got, guess, known := findCharset(v)
					if s := substitutes[e]; s != nil && got == s {
						got = e
					}
					assert.True(t, known && !guess && got == e, "%q is %v, found %v", v, e, got)
					n++
				}
			}
		}
	}
	assert.Greater(t, n, 300)
}

// TestCharsetAliases has names from both registries and from the field.
func TestCharsetAliases(t *testing.T) {
	for want, names := range map[encoding.Encoding]string{
		charmap.ISO8859_2:          "latin2 l2 iso-ir-101 csISOLatin2 ISO_8859-2:1987 iso8859-2 iso88592 8859_2 ISO8859_2",
		charmap.ISO8859_10:         "latin6 l6 iso-ir-157 csISOLatin6 ISO_8859-10:1992 iso885910",
		charmap.ISO8859_5:          "cyrillic csISOLatinCyrillic iso-ir-144 ISO_8859-5:1988",
		charmap.ISO8859_7:          "greek greek8 ECMA-118 ELOT_928 sun_eu_greek csISOLatinGreek iso-ir-126",
		charmap.ISO8859_8:          "hebrew visual csISOLatinHebrew iso-ir-138 csISO88598E",
		charmap.Windows1252:        "latin1 l1 iso-ir-100 IBM819 CP819 csISOLatin1 x-cp1252 ISO_8859-1:1987 windows1252 cp-1252",
		charmap.Windows874:         "dos-874 tis-620 iso-8859-11 iso8859-11 iso885911",
		charmap.Macintosh:          "mac macintosh x-mac-roman csMacintosh",
		charmap.CodePage866:        "866 cp866 csIBM866 ibm866",
		charmap.CodePage850:        "IBM850 cp850 850 csPC850Multilingual cp-850",
		charmap.CodePage437:        "IBM437 cp437 437 csPC8CodePage437",
		charmap.KOI8R:              "koi koi8 koi8_r csKOI8R cp20866",
		charmap.KOI8U:              "koi8-ru cp21866",
		japanese.ShiftJIS:          "ms_kanji csShiftJIS MS932 windows-31j x-sjis csWindows31J",
		japanese.EUCJP:             "x-euc-jp csEUCPkdFmtJapanese Extended_UNIX_Code_Packed_Format_for_Japanese",
		japanese.ISO2022JP:         "csISO2022JP iso-2022-jp",
		korean.EUCKR:               "csKSC56011987 iso-ir-149 korean KS_C_5601-1987 ks_c_5601-1989 KSC_5601 csEUCKR windows-949 cp949",
		traditionalchinese.Big5:    "big5-hkscs cn-big5 csBig5 x-x-big5 cp950",
		simplifiedchinese.GB18030:  "chinese csGB2312 csISO58GB231280 GB_2312-80 iso-ir-58 x-gbk cp936 gb2312 GBK CP936 MS936",
		simplifiedchinese.HZGB2312: "hz-gb-2312",
		utf7{}:                     "utf-7 UTF7 unicode-1-1-utf-7 csUTF7 cp65000 unicode-1.1-utf-7",
	} {
		for name := range strings.FieldsSeq(names) {
			got, _, known := findCharset(name)
			assert.True(t, known && got == want, "%q is %v, found %v", name, want, got)
		}
	}
}
