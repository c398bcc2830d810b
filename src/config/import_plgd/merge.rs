//! YAML's merge keys (`<<: *defaults`), which plgd's parser supports and ours does not.

use crate::config::tree::{Data, Entry, Node};

/// Replaces `<<` by the members that it names, everywhere. A mapping's own keys win, then earlier
/// ones.
pub(super) fn merge(node: &mut Node) {
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(merge),
        Data::Map(entries) => {
            entries.iter_mut().for_each(|entry| merge(&mut entry.value));
            merge_here(entries);
        }
        _ => {}
    }
}

fn merge_here(entries: &mut Vec<Entry>) {
    let is_mapping = |node: &Node| matches!(node.data, Data::Map(_));
    let named = entries.iter().position(|entry| {
        entry.key == "<<"
            && match &entry.value.data {
                Data::Map(_) => true,
                Data::List(items) => items.iter().all(is_mapping),
                _ => false,
            }
    });
    let Some(named) = named else { return };
    let merged = match entries.remove(named).value.data {
        Data::Map(members) => members,
        Data::List(items) => items.into_iter().flat_map(members).collect(),
        _ => Vec::new(),
    };
    for member in merged {
        if !entries.iter().any(|entry| entry.key == member.key) {
            entries.push(member);
        }
    }
}

fn members(node: Node) -> Vec<Entry> {
    if let Data::Map(members) = node.data {
        members
    } else {
        Vec::new()
    }
}
