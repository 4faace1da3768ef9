// Verifies an audit log with the Go project's own transparency log code, and with nothing of ccgate:
//
//	verify DIR [INCLUSION [CONSISTENCY]]
//
// Every checkpoint's signature and root, INCLUSION random inclusion proofs (1000) and CONSISTENCY random consistency proofs
// (100) made of the hash tiles. Exit code 0: all hold; 1: one does not.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(format string, arguments ...interface{}) {
	fmt.Printf("WRONG "+format+"\n", arguments...)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// head is what is read of a line.
type head struct {
	Seq    int64           `json:"seq"`
	Event  string          `json:"event"`
	Erased json.RawMessage `json:"erased"`
	Leaf   string          `json:"leaf"`
	Void   *struct {
		First int64 `json:"first"`
		Last  int64 `json:"last"`
	} `json:"void"`
}

// tiles reads C2SP tiles: Go's paths have the tile's height in them, and a partial tile may have grown.
type tiles struct{ dir string }

func (t tiles) Height() int                             { return 8 }
func (t tiles) SaveTiles(tiles []tlog.Tile, _ [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		data, err := t.read(tile)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (t tiles) read(tile tlog.Tile) ([]byte, error) {
	for width := tile.W; width <= 256; width++ {
		grown := tile
		grown.W = width
		path := "tile/" + strings.TrimPrefix(grown.Path(), "tile/8/")
		data, err := os.ReadFile(filepath.Join(t.dir, path))
		if err == nil && len(data) >= tile.W*32 {
			return data[:tile.W*32], nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("there is no %s", tile.Path())
}

// leaves are those of the lines that count; of numbers without a line they are left at zero.
func leaves(dir string, size int64) []tlog.Hash {
	found := make([]tlog.Hash, size)
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	must(err)
	sort.Strings(segments)
	for i, path := range segments {
		next := size + 1
		if i+1 < len(segments) {
			next = first(segments[i+1])
		}
		data, err := os.ReadFile(path)
		must(err)
		lines := bytes.SplitAfter(data, []byte("\n"))
		expected := first(path)
		for _, line := range lines {
			if !bytes.HasSuffix(line, []byte("\n")) || expected >= next {
				break
			}
			line = line[:len(line)-1]
			var head head
			if err := json.Unmarshal(line, &head); err != nil || head.Seq != expected {
				break
			}
			if head.Void != nil && head.Event == "audit.gap" {
				for seq := head.Void.First; seq <= head.Void.Last && seq <= size; seq++ {
					found[seq-1] = tlog.RecordHash([]byte(fmt.Sprintf(`{"seq":%d,"void":true}`, seq)))
				}
			}
			if expected <= size {
				found[expected-1] = leaf(line, head)
			}
			expected++
		}
	}
	return found
}

func leaf(line []byte, head head) tlog.Hash {
	if head.Event != "" || string(head.Erased) != "true" {
		return tlog.RecordHash(line)
	}
	bytes, err := hex.DecodeString(head.Leaf)
	must(err)
	var hash tlog.Hash
	if copy(hash[:], bytes) != len(bytes) || len(bytes) != len(hash) {
		fail("no leaf: %q", head.Leaf)
	}
	return hash
}

func first(path string) int64 {
	digits := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "audit-"), ".jsonl")
	number, err := strconv.ParseInt(digits, 10, 64)
	must(err)
	return number
}

func keys(dir string) note.Verifiers {
	file, err := os.Open(filepath.Join(dir, "audit.pub"))
	must(err)
	defer file.Close()
	var list []note.Verifier
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := note.NewVerifier(line)
		must(err)
		list = append(list, key)
	}
	return note.VerifierList(list...)
}

func checkpoint(text string, keys note.Verifiers) tlog.Tree {
	opened, err := note.Open([]byte(text), keys)
	must(err)
	lines := strings.SplitN(opened.Text, "\n", 4)
	if len(lines) < 4 || lines[0] != opened.Sigs[0].Name {
		fail("not a checkpoint of this log: %q", opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := tlog.ParseHash(lines[2])
	must(err)
	return tlog.Tree{N: size, Hash: root}
}

func checkpoints(dir string, keys note.Verifiers) []tlog.Tree {
	data, err := os.ReadFile(filepath.Join(dir, "checkpoints.jsonl"))
	must(err)
	var trees []tlog.Tree
	for _, line := range bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		var signed struct {
			Size int64  `json:"size"`
			Note string `json:"note"`
		}
		must(json.Unmarshal(line, &signed))
		tree := checkpoint(signed.Note, keys)
		if tree.N != signed.Size || (len(trees) > 0 && tree.N < trees[len(trees)-1].N) {
			fail("checkpoint over %d in a line that says %d", tree.N, signed.Size)
		}
		trees = append(trees, tree)
	}
	return trees
}

func count(place, otherwise int) int {
	if len(os.Args) <= place {
		return otherwise
	}
	number, err := strconv.Atoi(os.Args[place])
	must(err)
	return number
}

func main() {
	if len(os.Args) < 2 {
		fail("usage: verify DIR [INCLUSION [CONSISTENCY]]")
	}
	dir, inclusions, consistencies := os.Args[1], count(2, 1000), count(3, 100)
	known := keys(dir)
	trees := checkpoints(dir, known)
	newest, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	must(err)
	last := checkpoint(string(newest), known)
	if len(trees) == 0 || trees[len(trees)-1] != last {
		fail("the newest checkpoint is not the last of the list")
	}

	// The tree over the lines, as Go makes it; a number without a line is told by the tiles.
	fromTiles := tlog.TileHashReader(last, tiles{dir})
	var stored []tlog.Hash
	own := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	all, absent := leaves(dir, last.N), 0
	for i, hash := range all {
		if hash == (tlog.Hash{}) {
			told, err := fromTiles.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(i))})
			must(err)
			all[i], hash = told[0], told[0]
			absent++
		}
		more, err := tlog.StoredHashesForRecordHash(int64(i), hash, own)
		must(err)
		stored = append(stored, more...)
	}
	for _, tree := range trees {
		root, err := tlog.TreeHash(tree.N, own)
		must(err)
		if tree.N == 0 {
			// sumdb/tlog has no root for the empty tree; RFC 6962 section 2.1 has: the hash of nothing.
			root = sha256.Sum256(nil)
		}
		if root != tree.Hash {
			fail("the lines are not those of the checkpoint over %d", tree.N)
		}
	}

	// The empty tree has nothing to prove.
	var filled []tlog.Tree
	for _, tree := range trees {
		if tree.N > 0 {
			filled = append(filled, tree)
		}
	}
	for i := 0; i < inclusions; i++ {
		tree := filled[rand.Intn(len(filled))]
		index := rand.Int63n(tree.N)
		proof, err := tlog.ProveRecord(tree.N, index, tlog.TileHashReader(tree, tiles{dir}))
		must(err)
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, all[index]); err != nil {
			fail("record %d in the checkpoint over %d: %v", index+1, tree.N, err)
		}
	}
	for i := 0; i < consistencies; i++ {
		older, newer := filled[rand.Intn(len(filled))], filled[rand.Intn(len(filled))]
		if older.N > newer.N {
			older, newer = newer, older
		}
		proof, err := tlog.ProveTree(newer.N, older.N, tlog.TileHashReader(newer, tiles{dir}))
		must(err)
		if err := tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash); err != nil {
			fail("the checkpoint over %d does not continue the one over %d: %v", newer.N, older.N, err)
		}
	}
	fmt.Printf("ok %d records, %d of them told by tiles, %d checkpoints, %d inclusion proofs, %d consistency proofs\n",
		last.N, absent, len(trees), inclusions, consistencies)
}
