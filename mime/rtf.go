package mime

import (
	"bufio"
	"bytes"
	"io"
)

// rtfPreset is what the dictionary of compressed RTF holds at the start
// (MS-OXRTFCP 2.1.2.1).
const rtfPreset = "{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}" +
	"{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier" +
	"{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"

const (
	rtfDictionary   = 4096
	rtfCompressed   = 0x75465a4c // "LZFu"
	rtfUncompressed = 0x414c454d // "MELA"
)

// An rtfExpander reads compressed RTF (MS-OXRTFCP 2.2). One byte of input gives
// at most 17 of output, so what it gives is bounded by what it reads; the size
// that the header claims is not trusted.
type rtfExpander struct {
	r       *bufio.Reader
	begun   bool
	plain   bool
	torn    bool
	dict    [rtfDictionary]byte
	pos     int
	control byte
	left    int // bits of control not used yet
	run     int // bytes still to be copied from the dictionary
	from    int
}

func (x *rtfExpander) begin() {
	x.begun = true
	var head [16]byte
	if _, err := io.ReadFull(x.r, head[:]); err != nil {
		x.torn = true
		return
	}
	kind := uint32(head[8]) | uint32(head[9])<<8 | uint32(head[10])<<16 | uint32(head[11])<<24
	x.plain = kind == rtfUncompressed
	x.torn = kind != rtfUncompressed && kind != rtfCompressed
	x.pos = copy(x.dict[:], rtfPreset)
}

// ReadByte gives the next byte of RTF, io.EOF at its end.
func (x *rtfExpander) ReadByte() (byte, error) {
	if !x.begun {
		x.begin()
	}
	if x.torn {
		return 0, io.EOF
	}
	if x.plain {
		c, err := x.r.ReadByte()
		if err != nil {
			err = io.EOF
		}
		return c, err
	}
	for x.run == 0 {
		if x.left == 0 {
			c, err := x.r.ReadByte()
			if err != nil {
				return 0, x.tear()
			}
			x.control, x.left = c, 8
		}
		ref := x.control&1 != 0
		x.control >>= 1
		x.left--
		c, err := x.r.ReadByte()
		if err != nil {
			return 0, x.tear()
		}
		if !ref {
			return x.put(c), nil
		}
		d, err := x.r.ReadByte()
		if err != nil {
			return 0, x.tear()
		}
		x.from, x.run = int(c)<<4|int(d)>>4, int(d&15)+2
		if x.from == x.pos { // the end mark
			x.plain, x.r = true, bufio.NewReader(bytes.NewReader(nil))
			return 0, io.EOF
		}
	}
	c := x.dict[x.from]
	x.from = (x.from + 1) % rtfDictionary
	x.run--
	return x.put(c), nil
}

func (x *rtfExpander) put(c byte) byte {
	x.dict[x.pos] = c
	x.pos = (x.pos + 1) % rtfDictionary
	return c
}

func (x *rtfExpander) tear() error {
	x.torn = true
	return io.EOF
}
