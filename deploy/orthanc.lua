-- Sends every study that has become stable to the node, which orthanc.json calls "medreid".
-- Studies that the node has just moved to their patient are stable anew, and carry its mark: they are no news to it.
function OnStableStudy(studyId, tags, metadata)
  if metadata['MedReIDRelink'] == nil and metadata['4171'] == nil then
    RestApiPost('/modalities/medreid/store', DumpJson({ Resources = { studyId }, Synchronous = false }, true))
  end
end
