# shellcheck shell=bash disable=SC2154
cd "$tmp" || exit
row='{"question":"take 18, times 2, times 9.","answer":"324"}'
good() { expect "$1" 0 "^$2 prompts" "$app" eval data.val_files="$3"; } # NAME QUESTIONS FILES
bad() { expect "$1" 1 "data.val_files: |$2" \
    "$app" eval data.val_files="$3"; grep -qE -- "$2" said || failed=$((failed + 1)); }
printf '\xef\xbb\xbf%s\r\n\r\n%s\r\n' "$row" "$row" >bom.jsonl
good "a byte order mark, CRLF, an empty line" 2 bom.jsonl
printf '%s\nnull\n{"question":null,"answer":null}\n%s' "$row" "$row" >nulls.jsonl
good "null rows" 2 nulls.jsonl
check "and it is said" grep -q 'nulls.jsonl: 2 rows are null and were left out' said
printf '\n[\n  {\n    "question": "q",\n    "answer": 1\n  },\n  %s\n]\n' "$row" >array.json
good "an array" 2 array.json
mkdir -p sh/data empty/data
for k in 2 0 1; do printf '%s\n' "$row" >sh/data/train-0000$k-of-00003.jsonl; done
good "a folder" 3 sh/data
check "what it stands for" grep -q \
    'data.val_files: sh/data: 3 files: train-00000-of-00003.jsonl, train-00001-.*, train-00002-of-00003.jsonl$' \
    said
check "one source of all shards" grep -q '^train ' said
rm sh/data/train-00001*
good "a pattern" 2 'sh/data/train-*-of-*.jsonl'
check "a shard that is missing" grep -q '(2 of 3 shards)' said
good "a list with blanks" 4 'bom.jsonl, nulls.jsonl '
good "a list as Python writes it" 4 "['bom.jsonl', \"nulls.jsonl\"]"
gzip -c bom.jsonl >gz.parquet
good "gzip under a wrong name" 2 gz.parquet
if command -v zstd >/dev/null; then
    zstd -q -o z.json.zst array.json
    good "zstd" 2 z.json.zst
    cp z.json.zst z.jsonl
    good "zstd under a wrong name" 2 z.jsonl
fi
mkdir twins splits
cp bom.jsonl twins/a.jsonl; cp gz.parquet twins/a.parquet
bad "two kinds" 'holds files of several kinds .1 .jsonl, 0 .json, 1 .parquet., which may hold the same records' twins
cp bom.jsonl splits/train.jsonl; cp bom.jsonl splits/test.jsonl
bad "two splits" 'stands for both train.jsonl and test.jsonl' splits/
bad "no data" 'empty: is a folder without .parquet, .jsonl or .json files; it has folders: data' empty
bad "no such pattern" 'no file matches this pattern' 'sh/*.parquet'
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 3949\n' >lfs.parquet
bad "a Git LFS pointer" 'lfs.parquet: is a Git LFS pointer, not the file itself: get the file with .git lfs pull' \
    lfs.parquet
printf '<!DOCTYPE html>\n<html><head>' >page.jsonl
bad "a page" 'page.jsonl: is an HTML page, not data' page.jsonl
printf 'question,answer\nq,1\n' >rows.csv
bad "CSV" 'rows.csv: is neither JSON lines nor a JSON array nor Parquet: it begins with "question,answer"' rows.csv
printf '{\n"question": "q",\n"answer": 1\n}\n' >pretty.json
bad "rows of several lines" 'pretty.json:1: .*where rows have several lines, the file must be one array' pretty.json
printf '[%s,]' "$row" >comma.json
bad "a comma too many" 'comma.json:1: a comma before the end of the array' comma.json
printf '[%s' "$row" >cut.json
bad "cut short" 'cut.json: the file ends within its array' cut.json
(printf '\x28\xb5\x2f\xfd'; head -c 40 /dev/zero) >bad.zst
bad "damaged zstd" 'bad.zst: damaged after 0 bytes' bad.zst
