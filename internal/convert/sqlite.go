package convert

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// sqliteMagic begins a database of SQLite.
const sqliteMagic = "SQLite format 3\x00"

// maxDatabase is how many octets of a database are read.
const maxDatabase = 512 << 20

var errDatabase = errors.New(
	"the database is damaged, or of a form that is not known: write sqlite3 FILE .dump > pdns.sql, and import that",
)

// A sqlite is a database file as it lies on the disk (SQLite, "Database File Format"): what is
// committed in the write-ahead log beside it counts. Nothing is locked and nothing written.
type sqlite struct {
	file   []byte
	wal    map[uint32][]byte // pages that the log has again
	page   int               // octets of a page
	usable int               // those that hold data
	left   int               // pages that may still be looked at: none is needed twice
}

// openSQLite reads a database file.
func openSQLite(path string) (*sqlite, error) {
	file, err := readDatabase(path)
	if err != nil {
		return nil, err
	}
	const head = 100
	if len(file) < head || string(file[:len(sqliteMagic)]) != sqliteMagic {
		return nil, fmt.Errorf("%s: it is no database of SQLite", Printable(path))
	}
	d := &sqlite{file: file, page: int(binary.BigEndian.Uint16(file[16:]))}
	if d.page == 1 {
		d.page = 1 << 16
	}
	d.usable = d.page - int(file[20])
	utf8 := binary.BigEndian.Uint32(file[56:]) <= 1
	if d.page < 512 || d.page&(d.page-1) != 0 || d.usable < 480 || !utf8 {
		return nil, errDatabase
	}
	if log, err := readDatabase(path + "-wal"); err == nil {
		d.readLog(log)
	}
	d.left = len(file)/d.page + len(d.wal) + 1
	return d, nil
}

func readDatabase(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, reason(path, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxDatabase {
		return nil, fmt.Errorf("%s: no file of at most %d bytes", Printable(path), maxDatabase)
	}
	text, err := os.ReadFile(path)
	return text, reason(path, err)
}

// readLog takes the pages that the log has committed. What follows the last commit, or does not
// fit its checksum, is not there yet.
func (d *sqlite) readLog(log []byte) {
	const head, frameHead = 32, 24
	if len(log) < head {
		return
	}
	order := binary.ByteOrder(binary.LittleEndian)
	switch binary.BigEndian.Uint32(log) {
	case 0x377f0683:
		order = binary.BigEndian
	case 0x377f0682:
	default:
		return
	}
	if int(binary.BigEndian.Uint32(log[8:])) != d.page {
		return
	}
	var a, b uint32
	sum := func(data []byte) {
		for i := 0; i+8 <= len(data); i += 8 {
			a += order.Uint32(data[i:]) + b
			b += order.Uint32(data[i+4:]) + a
		}
	}
	sum(log[:24])
	salt := string(log[16:24])
	d.wal = map[uint32][]byte{}
	pending := map[uint32][]byte{}
	for rest := log[head:]; len(rest) >= frameHead+d.page; rest = rest[frameHead+d.page:] {
		frame := rest[:frameHead+d.page]
		sum(frame[:8])
		sum(frame[frameHead:])
		if string(frame[8:16]) != salt || binary.BigEndian.Uint32(frame[16:]) != a || binary.BigEndian.Uint32(frame[20:]) != b {
			return
		}
		pending[binary.BigEndian.Uint32(frame)] = frame[frameHead:]
		if binary.BigEndian.Uint32(frame[4:]) == 0 {
			continue
		}
		for n, p := range pending {
			d.wal[n] = p
		}
		clear(pending)
	}
}

// at returns a page, which count from 1.
func (d *sqlite) at(n uint32) ([]byte, error) {
	if d.left--; d.left < 0 || n == 0 {
		return nil, errDatabase
	}
	if p := d.wal[n]; p != nil {
		return p, nil
	}
	from := (int64(n) - 1) * int64(d.page)
	if from+int64(d.page) > int64(len(d.file)) {
		return nil, errDatabase
	}
	return d.file[from : from+int64(d.page)], nil
}

// varint reads a number of at most nine octets, and returns how many it takes: none of a text
// that is too short.
func sqliteVarint(b []byte) (v uint64, n int) {
	for i := range min(len(b), 9) {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// rows calls f with each row of the tree of tables that begins at a page.
func (d *sqlite) rows(n uint32, depth int, f func(rowid uint64, columns []string) error) error {
	p, err := d.at(n)
	if err != nil || depth > maxDepth {
		return errors.Join(err, errDeep(depth))
	}
	head := 0
	if n == 1 {
		head = 100
	}
	const leaf, interior = 0x0d, 0x05
	kind, cells := p[head], int(binary.BigEndian.Uint16(p[head+3:]))
	pointers := head + 8
	if kind == interior {
		pointers += 4
	}
	if kind != leaf && kind != interior || pointers+2*cells > d.usable {
		return errDatabase
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(p[pointers+2*i:]))
		if at < pointers || at+4 > d.usable {
			return errDatabase
		}
		if kind == interior {
			err = d.rows(binary.BigEndian.Uint32(p[at:]), depth+1, f)
		} else {
			err = d.cell(p[at:d.usable], f)
		}
		if err != nil {
			return err
		}
	}
	if kind == interior {
		return d.rows(binary.BigEndian.Uint32(p[head+8:]), depth+1, f)
	}
	return nil
}

func errDeep(depth int) error {
	if depth > maxDepth {
		return errDatabase
	}
	return nil
}

// cell reads one row, of which some may be in pages of its own.
func (d *sqlite) cell(b []byte, f func(rowid uint64, columns []string) error) error {
	size, n := sqliteVarint(b)
	rowid, m := sqliteVarint(b[n:])
	if b = b[n+m:]; n == 0 || m == 0 || size > maxFile {
		return errDatabase
	}
	local := int(size)
	if most := d.usable - 35; local > most {
		least := (d.usable-12)*32/255 - 23
		if local = least + (int(size)-least)%(d.usable-4); local > most {
			local = least
		}
	}
	if local > len(b) {
		return errDatabase
	}
	payload := append([]byte(nil), b[:local]...)
	for next := b[local:]; len(payload) < int(size); {
		if len(next) < 4 {
			return errDatabase
		}
		p, err := d.at(binary.BigEndian.Uint32(next))
		if err != nil {
			return err
		}
		payload = append(payload, p[4:min(d.usable, 4+int(size)-len(payload))]...)
		next = p
	}
	columns, err := sqliteRecord(payload)
	if err != nil {
		return err
	}
	return f(rowid, columns)
}

// sqliteNull stands for a value that is not there, which no text is.
const sqliteNull = "\x00NULL"

// sqliteRecord returns the values of a row as text.
func sqliteRecord(b []byte) ([]string, error) {
	size, n := sqliteVarint(b)
	if n == 0 || size > uint64(len(b)) || size < uint64(n) {
		return nil, errDatabase
	}
	types, data := b[n:size], b[size:]
	var out []string
	for len(types) > 0 {
		t, n := sqliteVarint(types)
		if n == 0 {
			return nil, errDatabase
		}
		types = types[n:]
		width := []int{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}
		var size int
		switch {
		case t < uint64(len(width)):
			size = width[t]
		case t-12 > math.MaxInt32:
			return nil, errDatabase
		default:
			size = int(t-12) / 2
		}
		if size > len(data) {
			return nil, errDatabase
		}
		value := data[:size]
		data = data[size:]
		switch {
		case t == 0:
			out = append(out, sqliteNull)
		case t <= 6:
			v := int64(int8(value[0]))
			for _, x := range value[1:] {
				v = v<<8 | int64(x)
			}
			out = append(out, strconv.FormatInt(v, 10))
		case t == 7:
			out = append(out, strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(value)), 'g', -1, 64))
		case t <= 9:
			out = append(out, strconv.FormatUint(t-8, 10))
		default:
			out = append(out, string(value))
		}
	}
	return out, nil
}

// tables returns the rows of the tables that are wanted, by name.
func (d *sqlite) tables(wanted []string) (sqlTables, error) {
	type table struct {
		root    uint32
		columns []string
		key     int // the column that is the row's number; -1: none
	}
	found := map[string]table{}
	err := d.rows(1, 0, func(_ uint64, c []string) error { // type, name, tbl_name, rootpage, sql
		if len(c) < 5 || c[0] != "table" {
			return nil
		}
		for _, name := range wanted {
			root, err := strconv.ParseUint(c[3], 10, 32)
			if strings.EqualFold(c[1], name) && err == nil {
				columns, key := sqlColumns(c[4])
				found[name] = table{uint32(root), columns, key}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := sqlTables{}
	for name, t := range found {
		err := d.rows(t.root, 0, func(rowid uint64, c []string) error {
			row := sqlRow{}
			for i, column := range t.columns {
				switch {
				case i == t.key:
					row[column] = strconv.FormatUint(rowid, 10)
				case i < len(c) && c[i] != sqliteNull:
					row[column] = c[i]
				}
			}
			out[name] = append(out[name], row)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
