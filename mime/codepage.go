package mime

import (
	"strconv"
	"strings"
)

// codePage gives the charset of a Windows code page, windows-1252 for those
// that are not known.
func codePage(cp uint32) string {
	if name := codePageName(int(cp)); name != "" {
		return name
	}
	return "windows-1252"
}

// codePageNames are the code pages whose number is no part of their name.
var codePageNames = map[int]string{
	65001: "utf-8", 65000: "utf-7", 1200: "utf-16le", 1201: "utf-16be", 12000: "utf-32le", 12001: "utf-32be", 20127: "us-ascii",
	20866: "koi8-r", 21866: "koi8-u", 10000: "macintosh", 10007: "x-mac-cyrillic", 10017: "x-mac-ukrainian",
	932: "shift_jis", 942: "shift_jis", 943: "shift_jis", 936: "gb18030", 1386: "gb18030", 54936: "gb18030", 51936: "gb18030", 20936: "gb18030", 52936: "hz-gb-2312",
	949: "euc-kr", 51949: "euc-kr", 970: "euc-kr", 950: "big5", 20932: "euc-jp", 51932: "euc-jp", 33722: "euc-jp",
	50220: "iso-2022-jp", 50221: "iso-2022-jp", 50222: "iso-2022-jp", 50225: "iso-2022-kr", 50227: "iso-2022-cn", 874: "windows-874", 878: "koi8-r", 819: "iso-8859-1",
	858: "ibm00858", 437: "ibm437", 850: "ibm850", 852: "ibm852", 855: "ibm855", 860: "ibm860", 862: "ibm862", 863: "ibm863", 865: "ibm865", 866: "ibm866",
	37: "ibm037", 1047: "ibm1047", 1140: "ibm01140", 38598: "iso-8859-8",
}

func codePageName(cp int) string {
	switch {
	case codePageNames[cp] != "":
		return codePageNames[cp]
	case cp >= 28591 && cp <= 28606:
		return "iso-8859-" + strconv.Itoa(cp-28590)
	case cp >= 1250 && cp <= 1258:
		return "windows-" + strconv.Itoa(cp)
	}
	return ""
}

// looseCharset reads a charset off a name that no registry has: code pages in
// the spellings of many mailers ("cp1252", "windows1252", "ibm-943", "1251") and
// ISO 8859 with or without its dashes and its year. It is "" if the name says
// nothing.
func looseCharset(n string) string {
	if i := strings.Index(n, "8859"); i >= 0 {
		rest := strings.TrimLeft(n[i+len("8859"):], "-:/. ")
		k := 0
		for k < len(rest) && k < 2 && rest[k] >= '0' && rest[k] <= '9' {
			k++
		}
		if k > 0 && rest[0] != '0' {
			return "iso-8859-" + rest[:k]
		}
		return "iso-8859-1"
	}
	digits := strings.TrimLeft(n, "abcdefghijklmnopqrstuvwxyz-.")
	switch strings.Trim(n[:len(n)-len(digits)], "-.") {
	case "", "cp", "x-cp", "windows", "x-windows", "win", "ibm", "x-ibm", "ms", "x-ms", "dos", "ansi", "codepage", "mswin", "cswindows", "csibm":
		if cp, err := strconv.Atoi(strings.TrimRight(digits, "abcdefghijklmnopqrstuvwxyz")); err == nil {
			return codePageName(cp)
		}
	}
	return ""
}
